"""What every user meets first: the import is quick and light, and every public name explains itself."""

from __future__ import annotations

import importlib.resources
import inspect
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import miafast as mf

HEAVY = {"torch", "triton", "cupy", "numba", "ray", "matplotlib", "sklearn", "scipy"}


def _python(code: str, **environment: str) -> dict[str, object]:
    """What a fresh interpreter prints, as JSON."""
    ran = subprocess.run(
        [sys.executable, "-c", code], check=True, capture_output=True, text=True, env={**os.environ, **environment}
    )
    return json.loads(ran.stdout)


def test_import_brings_no_heavy_library() -> None:
    loaded = _python("import json, sys, miafast; print(json.dumps({'modules': list(sys.modules)}))")["modules"]
    assert not HEAVY & set(loaded)


def test_import_takes_under_300_ms(tmp_path: Path) -> None:
    # Processor time of fresh interpreters that find compiled modules, as an installed package has them. A busy machine
    # can double it and nothing shortens it, so the least of five is nearest to what an import costs.
    code = "import time; t = time.process_time(); import miafast; print(time.process_time() - t)"
    compiled = {"PYTHONPYCACHEPREFIX": str(tmp_path), "PYTHONDONTWRITEBYTECODE": ""}
    _python(code, **compiled)
    assert min(_python(code, **compiled) for _ in range(5)) < 0.3


def test_scoring_arrays_needs_no_torch() -> None:
    code = """
import json, sys
sys.modules["torch"] = None  # importing torch now raises ImportError
import miafast as mf, numpy as np
rng = np.random.default_rng(0)
mask = rng.random((17, 300)) < 0.5
phi = mf.logit_confidence(rng.normal(size=(17, 300, 4)) + 3 * mask[..., None] * np.eye(4)[0], np.zeros(300, np.int64))
roc = mf.roc(mf.LiRA().score(phi[0], phi[1:], mask[1:]), mask[0])
print(json.dumps({"auc": float(roc.auc)}))
"""
    assert _python(code)["auc"] > 0.6


def test_without_torch_audits_and_commands_say_what_to_install(tmp_path: Path) -> None:
    for needed in ("matplotlib", "jinja2", "sklearn"):
        pytest.importorskip(needed)
    code = f"""
import contextlib, io, json, sys
sys.modules["torch"] = None
import miafast as mf, numpy as np
from miafast import cli
told = io.StringIO()
try:
    mf.audit(mf.Records(np.eye(40), np.arange(40) % 2, classes=2), shadows=6)
except ModuleNotFoundError as error:
    print(error, file=told)
sys.argv = ["miafast", "invert", "--data", "digits", "--out", {str(tmp_path)!r}]
with contextlib.redirect_stderr(told), contextlib.suppress(SystemExit):
    cli.main()
print(json.dumps(told.getvalue().splitlines()))
"""
    for told in _python(code):
        assert told.endswith("pip install 'miafast[train]'.")


@pytest.mark.parametrize("name", mf.__all__)
def test_public_name_explains_itself(name: str) -> None:
    documentation = inspect.getdoc(getattr(mf, name))
    assert documentation, f"{name} has no docstring"
    assert ">>> " in documentation, f"{name} has no example"


def test_types_are_shipped() -> None:
    assert importlib.resources.files("miafast").joinpath("py.typed").is_file()


def test_tab_completion_knows_the_public_names_and_no_others() -> None:
    assert set(dir(mf)) == {*mf.__all__, "__version__"}


def test_a_type_checker_refuses_a_name_that_is_not_there(tmp_path: Path) -> None:
    mypy = pytest.importorskip("mypy.api")
    script = tmp_path / "script.py"
    script.write_text("import miafast as mf\nprint(mf.roc, mf.invert, mf.nonsense)\n")
    said, _, _ = mypy.run([str(script), "--follow-imports=silent", f"--cache-dir={tmp_path}"])
    assert [line for line in said.splitlines() if str(script) in line] == [
        f'{script}:2: error: Module has no attribute "nonsense"  [attr-defined]'
    ]
