"""Kill -9 at ten random moments: resuming gives the identical result each time."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("torch")
pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")

# Runs in a process of its own that imports torch once, never computes, and forks a child for every run.
SCRIPT = """
import hashlib, os, random, signal, sys, time
from pathlib import Path
import numpy as np, torch
import miafast as mf
import miafast.shadow, miafast.collect
from miafast import plan
import miafast.shadow as shadow

rng = np.random.default_rng(0)
records = mf.Records(rng.normal(size=(400, 16)).astype(np.float32), rng.integers(0, 4, 400), classes=4, name="toy")
recipe = mf.Recipe(model="mlp", hidden=(32,), epochs=12, batch_size=16)
shadow.stack_size = lambda *_, **__: 3  # several chunks, the last one smaller

def run(folder):
    pid = os.fork()
    if pid == 0:
        report = mf.audit(records, recipe, shadows=10, seed=4, workdir=folder)
        scores = b"".join(result.scores.tobytes() for result in report.results)
        digest = hashlib.sha256(np.asarray(report.signals.phi).tobytes() + scores).hexdigest()
        Path(str(folder) + ".digest").write_text(digest)
        os._exit(0)
    return pid

root, moments = Path(sys.argv[1]), random.Random(11)
began = time.perf_counter()
os.waitpid(run(root / "straight"), 0)
whole = time.perf_counter() - began
expected = (root / "straight.digest").read_text()
killed = 0
for attempt in range(10):
    folder = root / f"run{attempt}"
    pid = run(folder)
    time.sleep(moments.random() * whole)
    os.kill(pid, signal.SIGKILL)
    killed += os.WIFSIGNALED(os.waitpid(pid, 0)[1])
    os.waitpid(run(folder), 0)
    got = Path(str(folder) + ".digest").read_text()
    assert got == expected, f"attempt {attempt}: {got} != {expected}"
print("killed", killed)
"""


def test_kill_and_resume(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, str(tmp_path)], capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stderr
    assert int(done.stdout.split()[-1]) >= 3  # the others were done before their moment came
