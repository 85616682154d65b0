"""Numba twins, one file per op; compiled at first use and cached on disk."""
