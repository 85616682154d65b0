"""CUDA C++ twins, where they beat Triton's: one op is one file with a function of the op's name on torch tensors."""
