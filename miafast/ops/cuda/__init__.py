"""CUDA C++ twins on torch tensors, compiled by CuPy where they run: one op is one file here and one in csrc/cuda."""
