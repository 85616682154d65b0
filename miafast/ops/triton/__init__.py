"""Triton twins for arrays on a CUDA device: one op is one file with a function of the op's name on torch tensors."""
