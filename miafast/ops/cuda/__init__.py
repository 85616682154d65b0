"""CUDA C++ twins on torch tensors, compiled by CuPy where they run: an op is a file here, its source in csrc/cuda."""
