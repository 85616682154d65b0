"""C++ twins: the compiled functions of `miafast._native`, under their ops' names."""
