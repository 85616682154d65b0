"""Several files put in place together, or none."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path


@contextmanager
def all_or_nothing(folder: Path) -> Iterator[Callable[[str], Path]]:
    """Hands out temporary paths by final name; when the block ends without error they get those names.

    After an error the temporary files are gone, files that were there before are as they were, and so is the folder.
    Raises OSError that names the folder and what to do.
    """
    pending: dict[Path, Path] = {}

    def temporary(name: str) -> Path:
        path = folder / f".{name}.{os.getpid()}.tmp"
        pending[path] = folder / name
        return path

    was_there = folder.exists()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        _probe(folder)
        yield temporary
        for final in pending.values():
            if final.is_dir():
                raise IsADirectoryError(errno.EISDIR, f"{final.name} there is a folder")
        for path, final in pending.items():
            os.replace(path, final)
    except OSError as error:
        reason = error.strerror or str(error)
        raise OSError(
            error.errno, f"folder='{folder}' cannot be written ({reason}); free some space or choose another folder."
        ) from error
    finally:
        for path in pending:
            with suppress(OSError):
                path.unlink()
        if not was_there:
            with suppress(OSError):
                folder.rmdir()  # succeeds only when nothing came to be in it


def _probe(folder: Path) -> None:
    """Fail now rather than after long work when nothing can be written there."""
    path = folder / f".probe.{os.getpid()}.tmp"
    path.touch()
    path.unlink()
