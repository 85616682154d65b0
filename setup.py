"""Builds miafast._native. Everything else about the package is in pyproject.toml."""

import os
import shlex
from pathlib import Path

from pybind11.setup_helpers import ParallelCompile, Pybind11Extension
from setuptools import setup
from setuptools.command.build_py import build_py

ParallelCompile("MIAFAST_BUILD_JOBS", default=0).install()
MORE_FLAGS = shlex.split(os.environ.get("MIAFAST_CXXFLAGS", ""))  # `make sanitize` gives some


class WithKernels(build_py):
    """CUDA sources travel beside the Python that has them compiled where they run; a source tree uses csrc/cuda."""

    def run(self) -> None:
        super().run()
        for path in [] if self.editable_mode else sorted(Path("csrc/cuda").iterdir()):
            self.copy_file(str(path), str(Path(self.build_lib, "miafast", "ops", "cuda", path.name)))


setup(
    cmdclass={"build_py": WithKernels},
    ext_modules=[
        Pybind11Extension(
            "miafast._native",
            sorted(str(path) for path in Path("csrc").glob("*.cpp")),
            depends=sorted(str(path) for path in Path("csrc").glob("*.h")),
            include_dirs=["csrc"],
            cxx_std=17,
            extra_compile_args=["-O3", "-fno-math-errno", "-Wall", "-Wextra", *MORE_FLAGS],
            extra_link_args=["-pthread", *MORE_FLAGS],
        )
    ],
)
