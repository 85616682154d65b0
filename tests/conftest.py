"""What several test files share."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

# Triton reads this when it is first imported. Without a device its kernels run in its interpreter, on CPU tensors.
if not Path("/dev/nvidiactl").exists():
    os.environ.setdefault("TRITON_INTERPRET", "1")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--real-data",
        metavar="FOLDER",
        default=None,
        help="folder of real data sets; by default shared/data next to the repository",
    )


@pytest.fixture(scope="session")
def real_data(request: pytest.FixtureRequest) -> Path:
    """The folder of real data sets; tests that need one are skipped without it."""
    given = request.config.getoption("--real-data")
    folder = Path(given) if given else request.config.rootpath.parent / "shared" / "data"
    if not folder.is_dir():
        pytest.skip(f"no real data in {folder}: pytest --real-data FOLDER")
    return folder


@pytest.fixture
def one_thread() -> Iterator[None]:
    """Batches this small gain nothing from a second thread, and lose much on a busy machine."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)
