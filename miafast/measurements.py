"""Which signals can be measured on a model, and what each holds per record."""

from __future__ import annotations

from collections.abc import Iterable

from miafast.ops.signals import LogitSignals

#: One number per query, all from one pass over the logits: see `miafast.ops.signals`.
OF_LOGITS = LogitSignals._fields

Layout = dict[str, tuple[int, ...]]  # signal -> its axes after models and records


def layout(names: Iterable[str], *, queries: int, classes: int) -> Layout:
    """What a run with these signals keeps per model and record; phi always, and first.

    ``logits`` are the answers themselves: [queries, classes] for every model and record.

    Raises ValueError for a name that nothing measures.

    >>> layout(["entropy", "logits"], queries=2, classes=10)
    {'phi': (2,), 'entropy': (2,), 'logits': (2, 10)}
    """
    sizes: Layout = {"phi": (queries,)}
    for name in names:
        if name in OF_LOGITS:
            sizes[name] = (queries,)
        elif name == "logits":
            sizes[name] = (queries, classes)
        else:
            raise ValueError(f"signal {name!r} is not known; attacks may ask for {', '.join(OF_LOGITS)} or logits.")
    return sizes
