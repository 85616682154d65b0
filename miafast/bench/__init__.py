"""`miafast bench`: how fast a machine is, in about a minute; `benchmarks/` times and describes machines with it too."""
