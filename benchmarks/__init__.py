"""How fast, against whom, on which machine: ``python -m benchmarks ops | train | audit``."""
