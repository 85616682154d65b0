"""Builds miafast._native. Everything else about the package is in pyproject.toml."""

from pathlib import Path

from pybind11.setup_helpers import ParallelCompile, Pybind11Extension
from setuptools import setup

ParallelCompile("MIAFAST_BUILD_JOBS", default=0).install()

setup(
    ext_modules=[
        Pybind11Extension(
            "miafast._native",
            sorted(str(path) for path in Path("csrc").glob("*.cpp")),
            depends=sorted(str(path) for path in Path("csrc").glob("*.h")),
            include_dirs=["csrc"],
            cxx_std=17,
            extra_compile_args=["-O3", "-fno-math-errno", "-Wall", "-Wextra"],
            extra_link_args=["-pthread"],
        )
    ],
)
