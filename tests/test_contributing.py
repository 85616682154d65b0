"""CONTRIBUTING's attack, as it is printed there, runs in an audit: finds a planted leak, and nothing in noise."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

import miafast as mf
from miafast.audit import report_on
from miafast.tables import Array, Signals

TEXT = (Path(__file__).parents[1] / "CONTRIBUTING.md").read_text(encoding="utf-8")


def printed_attack() -> Any:
    """The class of the section "Add an attack", given nothing but what a file of an attack imports."""
    (code,) = re.findall(r"```python\n(.*?)```", TEXT.split("## Add an attack")[1], flags=re.S)
    assert len(code.splitlines()) <= 20
    scope: dict[str, Any] = {"dataclass": dataclass, "Array": Array, "__name__": __name__}
    exec(code, scope)
    return scope["Confidence"]()


def report(*, leak: float) -> mf.Report:
    rng = np.random.default_rng(0)
    in_mask = mf.membership(2000, 8, seed=0)
    phi = (rng.normal(size=in_mask.shape) + leak * in_mask)[..., None].astype(np.float32)
    return report_on(Signals(phi, in_mask, np.arange(2000) % 3), [printed_attack()], seconds={})


def test_it_finds_what_is_planted_and_nothing_in_noise() -> None:
    planted, noise = (report(leak=leak).results[0] for leak in (2.0, 0.0))
    assert planted.name == "confidence"
    assert abs(planted.roc.auc - 0.921) < 0.01  # Φ(2 / √2)
    assert abs(noise.roc.auc - 0.5) < 3 / np.sqrt(12 * 4000)
    one = printed_attack().score(np.array([1.0, 3.0]), np.zeros((2, 2)), np.eye(2, dtype=bool))
    assert one.tolist() == [1.0, 3.0]
