"""Inputs that every twin of an op must agree on with the float64 NumPy truth: a file here for every family of ops.

``@cases("op_name", tolerance=...)`` marks a function that yields cases. ``tolerance(case, expected)`` says how far a
result may lie from the truth computed in float64: what honest rounding of the same computation in its dtype costs.
"""

from importlib import import_module
from pkgutil import iter_modules

from tests.cases.registry import CASES, Case, bfloat16, cases

for _family in iter_modules(__path__):
    import_module(f"{__name__}.{_family.name}")

__all__ = ["CASES", "Case", "bfloat16", "cases"]
