"""Says, before anything is installed, what this machine lacks to build miafast. Runs on any Python."""

import os
import shutil
import sys
import sysconfig


def missing():
    """The remedies, one sentence each, for what is missing; empty when all is there."""
    if sys.version_info < (3, 10):
        found = "%d.%d" % sys.version_info[:2]
        return ["Python is %s here; miafast needs 3.10 or newer: make PYTHON=/path/to/python3.12" % found]
    remedies = []
    try:
        import ensurepip  # noqa: F401
        import venv  # noqa: F401
    except ImportError:
        remedies.append("%s cannot make virtual environments; install its venv package." % sys.executable)
    header = os.path.join(sysconfig.get_path("include"), "Python.h")
    if not os.path.exists(header):
        remedies.append("%s is missing; install Python's development headers." % header)
    compilers = [os.environ["CXX"].split()[0]] if os.environ.get("CXX") else ["c++", "g++", "clang++"]
    if not any(shutil.which(name) for name in compilers):
        remedies.append("No C++ compiler (looked for %s); install g++ or clang++." % ", ".join(compilers))
    return remedies


if __name__ == "__main__":
    found_missing = missing()
    for remedy in found_missing:
        sys.stderr.write("miafast: %s\n" % remedy)
    sys.exit(1 if found_missing else 0)
