"""What somebody who misspelt a name probably meant."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


def did_you_mean(got: str, known: Iterable[str]) -> str:
    """A question with a space after it, or nothing where no known name is like the one that was given.

    >>> did_you_mean("Lira", ["rmia-online", "lira-online"])
    "did you mean 'lira-online'? "
    >>> did_you_mean("mine", ["digits", "adult"])
    ''
    """
    lowered = {name.lower(): name for name in known}
    text = got.strip().lower()
    begun = [name for name in lowered if text and name.startswith(text)]
    close = begun or difflib.get_close_matches(text, lowered, n=1)
    return f"did you mean {lowered[close[0]]!r}? " if close else ""
