"""Differential-privacy claims: lower bounds on epsilon from membership, and the accountant's upper bound."""

from miafast.epsilon.accountant import epsilon_upper_bound
from miafast.epsilon.lower_bound import epsilon_lower_bound

__all__ = ["epsilon_lower_bound", "epsilon_upper_bound"]
