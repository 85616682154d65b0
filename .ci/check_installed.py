"""Run in an environment where only the wheel was installed: what came with it, and does scoring arrays work there?"""

import importlib.metadata
import re
import sys

ASKED_FOR = {"numpy", "scipy", "numba", "typer", "rich"}
CAME_WITH_PYTHON = {"pip", "setuptools", "wheel"}


def needed_by(name: str) -> set[str]:
    """The distributions that an installed one requires here, extras left out."""
    requirements = importlib.metadata.requires(name) or []
    names = {re.split(r"[^A-Za-z0-9_.-]", each, maxsplit=1)[0] for each in requirements if "extra ==" not in each}
    return {name.lower().replace("_", "-") for name in names}


installed = {each.metadata["Name"].lower().replace("_", "-") for each in importlib.metadata.distributions()}
asked_for = needed_by("miafast")
if asked_for != ASKED_FOR:
    sys.exit(f"miafast requires {sorted(asked_for)}, not {sorted(ASKED_FOR)}")
allowed, reached = set(CAME_WITH_PYTHON | {"miafast"}), {"miafast"}
while reached:
    reached = {need for name in reached & installed for need in needed_by(name)} - allowed
    allowed |= reached
if unexpected := installed - allowed:
    sys.exit(f"installed without need: {sorted(unexpected)}")

import numpy as np  # noqa: E402

import miafast as mf  # noqa: E402
from miafast.ops.cuda.source import source  # noqa: E402

if importlib.metadata.version("miafast") != mf.__version__:
    sys.exit(f"miafast.__version__ is {mf.__version__}, the package's {importlib.metadata.version('miafast')}")
if mf.backends()["logit_confidence"]["cpp"] != "yes":
    sys.exit(f"the wheel came without its compiled part:\n{mf.backends()}")
for name in ("lira_leave_one_out", "lira_moments"):
    if "__global__" not in source(name):
        sys.exit(f"the wheel came without {name}.cu")

random = np.random.default_rng(0)
records, models, classes = 2000, 16, 10
labels = random.integers(classes, size=records)
in_mask = random.random((models, records)) < 0.5
logits = random.normal(size=(models, records, classes)).astype(np.float32)
logits[:, np.arange(records), labels] += 2 * in_mask
phi = mf.logit_confidence(logits, labels)
scores = mf.LiRA(mode="online").score(phi[0], phi[1:], in_mask[1:])
roc = mf.roc(scores, in_mask[0])
if not 0.6 < roc.auc < 1:
    sys.exit(f"a planted leak was not found: AUC {roc.auc}")
print(f"wheel works: {', '.join(sorted(installed))}; AUC of a planted leak {roc.auc:.3f}")
