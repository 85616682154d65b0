"""Records from where people keep them: names, files, arrays, other libraries' data sets."""

from miafast.data.arrays import from_arrays
from miafast.data.datasets import from_dataset
from miafast.data.loading import load
from miafast.data.named import available

__all__ = ["available", "from_arrays", "from_dataset", "load"]
