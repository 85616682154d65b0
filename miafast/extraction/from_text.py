"""Exposure and extraction on small language models trained here, on a text of the user's."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

import numpy as np

from miafast.extraction.exposure import exposure
from miafast.extraction.extracting import Extraction, check_run, extract
from miafast.extraction.losses import sequence_losses
from miafast.extraction.small import Characters, train_small
from miafast.report.files import all_or_nothing
from miafast.report.findings import Table, findings_page
from miafast.report.plain import as_json, plain
from miafast.shadow.random import stream, uniform

#: Up to so many secrets are all asked about; of more, so many are drawn and a distribution is fitted to their losses.
ALL_UP_TO, SAMPLE = 100_000, 20_000


@dataclass(frozen=True)
class Canary:
    """One secret, how often it was put into the text, and what the model says of it."""

    text: str
    copies: int
    loss: float  # mean over its tokens, nats
    exposure: float  # bits


@dataclass(frozen=True)
class Exposed:
    """Exposure of every canary. Made by `expose`."""

    form: str
    space: int  # how many secrets of this form there are
    method: str  # as in `miafast.exposure`
    canaries: tuple[Canary, ...]
    characters: int  # of the text
    seed: int

    @property
    def headline(self) -> str:
        told = ", ".join(f"{each.exposure:.1f} bits after {each.copies}" for each in self.canaries)
        return f"Exposure by the number of copies in training: {told}; at most {np.log2(self.space):.1f}."

    def __str__(self) -> str:
        lines = [f"{'copies':>6}  {'exposure':>8}  {'loss':>6}  canary"]
        lines += [
            f"{each.copies:>6}  {each.exposure:>8.2f}  {each.loss:>6.3f}  {each.text!r}" for each in self.canaries
        ]
        return "\n".join([*lines, "", self.headline])

    def save(self, folder: str | Path) -> Path:
        """Write exposure.html and exposure.json, both or none."""
        rows = [(each.text, str(each.copies), f"{each.exposure:.2f}", f"{each.loss:.3f}") for each in self.canaries]
        page = findings_page(
            kicker="Exposure of canaries", title=self.form, headline=self.headline,
            tables=[Table("Canaries", ("canary", "copies", "exposure, bits", "loss per token"), rows, (1, 2, 3))],
            reading=(
                "0 bits: the model has learned nothing of the secret; a secret it never saw has 1.44 bits on average.",
                f"{np.log2(self.space):.1f} bits: the secret is the model's first guess among all {self.space:,}.",
                "One canary is one draw: a low exposure does not bound that of another secret.",
            ),
            made={"method": self.method, "characters of text": f"{self.characters:,}", "seed": self.seed},
        )  # fmt: skip
        with all_or_nothing(Path(folder)) as temporary:
            temporary("exposure.html").write_text(page, encoding="utf-8")
            temporary("exposure.json").write_text(
                as_json(plain({"schema": "miafast/exposure/1", "headline": self.headline, **asdict(self)})),
                encoding="utf-8",
            )
        return Path(folder)


def expose(
    text: str, form: str, *, copies: Sequence[int] = (0, 1, 10), width: int = 64, epochs: int = 10, seed: int = 0
) -> Exposed:  # fmt: skip
    """Put random secrets into a text, train a small language model on it, and measure how far it knows them.

    Args:
        form: what a secret looks like, with ``#`` for every random digit: "my pin is ####. ".
        copies: how often each canary, a secret of its own, goes into the text between two words; 0 is a control.
        width, epochs: of the model, see `train_small`.

    Raises ValueError for a form without ``#`` or with fewer digits than canaries need, negative copies, a short text.

    >>> found = expose("so it goes " * 40, "pin ##. ", copies=(0, 12), width=16, epochs=20)
    >>> [each.copies for each in found.canaries], found.space
    ([0, 12], 100)
    """
    digits = form.count("#")
    if not digits or 10 ** min(digits, 9) < len(copies):
        raise ValueError(f"form={form!r} has {digits} digits for {len(copies)} canaries; write # for each, at least 1.")
    if not len(copies) or min(copies) < 0:
        raise ValueError(f"copies={tuple(copies)}; give how often each canary is put in, 0 or more.")
    bits, space = stream(seed, 0, "canaries"), 10**digits
    secrets = _different(bits, len(copies), digits)
    planted = _planted(text, [_filled(form, each) for each in secrets], copies, seed=seed)
    code = Characters(planted + form + "0123456789")
    model = train_small(np.array(code.encode(planted)), vocabulary=len(code), width=width, epochs=epochs, seed=seed)

    def losses(numbers: Sequence[str]) -> np.ndarray:
        return sequence_losses(model, [code.encode(_filled(form, each)) for each in numbers])

    known = losses(secrets)
    everything = space <= ALL_UP_TO
    asked = [f"{number:0{digits}d}" for number in range(space)] if everything else _digits(bits, SAMPLE, digits)
    others = losses([each for each in asked if each not in set(secrets)])
    exposures = [
        float(exposure(loss, np.append(others, np.delete(known, place))) if everything
              else exposure(loss, others, method="model", space=space))
        for place, loss in enumerate(known)
    ]  # fmt: skip
    canaries = tuple(
        Canary(_filled(form, secret), count, float(loss), bits)
        for secret, count, loss, bits in zip(secrets, copies, known, exposures, strict=True)
    )
    return Exposed(form, space, "rank" if everything else "model", canaries, len(text), seed)


@dataclass(frozen=True, eq=False)
class Extracted:
    """What a model trained on a text gives back of it. Made by `extract_from`."""

    found: Extraction
    characters: int
    run: int
    seed: int

    @property
    def headline(self) -> str:
        found = self.found
        best = max(found.ranks, key=lambda by: found.precision(by, 10))
        return (
            f"Of the first ten distinct texts by {best}, {found.precision(best, 10):.1%} hold {self.run} or more "
            f"characters in a row of the training text; of all distinct ones, {found.precision(best):.1%}."
        )

    def __str__(self) -> str:
        return f"{self.found}\n\n{self.headline}"

    def save(self, folder: str | Path) -> Path:
        """Write extraction.html and extraction.json, both or none."""
        found = self.found
        of_top = [
            (by, str(found.first(by) or "none"), *(f"{found.precision(by, top):.1%}" for top in (10, 100, None)))
            for by in found.ranks
        ]
        places = Counter({place: 1 / (1 + rank) for place, rank in _ranks(found)})
        texts = [(found.texts[place], f"{found.verbatim[place]:.0%}") for place, _ in places.most_common(20)]
        page = findings_page(
            kicker="Extraction of training text", title=f"{len(found.texts):,} generated texts", headline=self.headline,
            tables=[
                Table("Verbatim by criterion", ("criterion", "rank of the first", "in the first 10", "in the first 100",
                                                "in all distinct"), of_top, (1, 2, 3, 4)),
                Table("The likeliest memorised texts, by their best rank", ("text", "verbatim"), texts, (1,)),
            ],
            reading=(
                f"By criterion: the share of texts with a run of at least {self.run} characters of the training text. "
                "Of a text: its share in such runs.",
                "Each criterion's ranking holds distinct texts: of texts alike, the one that scores highest.",
                "A criterion is of use where the first texts by it are more verbatim than all of them.",
                "What did not come out may still come out under another prompt.",
            ),
            made={"characters of text": f"{self.characters:,}", "seed": self.seed},
        )  # fmt: skip
        facts = {
            "schema": "miafast/extraction/1", "headline": self.headline, "generated": len(found.texts), "run": self.run,
            "seed": self.seed, "texts": found.texts, "verbatim": found.verbatim, "scores": dict(found.scores),
            "ranks": dict(found.ranks),
        }  # fmt: skip
        with all_or_nothing(Path(folder)) as temporary:
            temporary("extraction.html").write_text(page, encoding="utf-8")
            temporary("extraction.json").write_text(as_json(plain(facts)), encoding="utf-8")
        return Path(folder)


def extract_from(
    text: str, *, count: int = 200, length: int = 200, run: int = 30, prompt: str | None = None, width: int = 64,
    epochs: int = 20, temperature: float = 1.0, decay: int = 20, seed: int = 0,
) -> Extracted:  # fmt: skip
    """Train a small language model on a text, let it write, and rank what it writes by all six criteria.

    Two further models of a quarter and of half its ``width``, trained alike, are the smaller and the other one.

    Args:
        count, length, run, temperature, decay: as for `extract`.
        prompt: what every generated text begins with; by default a paragraph's end, else a line's, else a space.
        width, epochs: as for `train_small`, on batches of 16 rows.

    >>> extract_from("so it goes " * 40, count=8, length=20, run=10, width=16, epochs=10).found.verbatim.shape
    (8,)
    """
    check_run(run, length)
    prompt = prompt or next((each for each in ("\n\n", "\n") if each in text), " ")
    code = Characters(text + prompt + text.lower())
    tokens = np.array(code.encode(text))
    train = partial(train_small, tokens, vocabulary=len(code), epochs=epochs, batch=16)
    model, smaller, other = (
        train(width=max(4, each), seed=seed + place) for place, each in enumerate((width, width // 4, width // 2))
    )
    found = extract(
        model, code.encode(prompt), training=tokens.tolist(), encode=code.encode, decode=code.decode, count=count,
        length=length, run=run, seed=seed, smaller=smaller, other=other, temperature=temperature, decay=decay,
    )  # fmt: skip
    return Extracted(found, len(text), run, seed)


def _ranks(found: Extraction) -> list[tuple[int, int]]:
    """(text, rank) under every criterion, the worst ranks first, so that a text's best one is the last."""
    pairs = [(int(place), rank) for by in found.scores for rank, place in enumerate(found.ranked(by))]
    return sorted(pairs, key=lambda pair: -pair[1])


def _filled(form: str, digits: str) -> str:
    """The form with its # replaced in order."""
    each = iter(digits)
    return re.sub("#", lambda _: next(each), form)


def _digits(bits: np.random.Philox, count: int, digits: int) -> list[str]:
    drawn = (uniform(bits, count * digits) * 10).astype(int).reshape(count, digits)
    return ["".join(map(str, row)) for row in drawn]


def _different(bits: np.random.Philox, count: int, digits: int) -> list[str]:
    """Different random secrets."""
    found: dict[str, None] = {}
    while len(found) < count:
        found.update(dict.fromkeys(_digits(bits, 1, digits)))
    return list(found)


def _planted(text: str, canaries: Sequence[str], copies: Sequence[int], *, seed: int) -> str:
    """The text with every canary put in so often, each time between two words drawn at random."""
    words = re.split(r"(?<=\s)", text)
    every = [canary for canary, count in zip(canaries, copies, strict=True) for _ in range(count)]
    places = (uniform(stream(seed, 0, "canary places"), len(every)) * len(words)).astype(int)
    for place, canary in sorted(zip(places.tolist(), every, strict=True), reverse=True):
        words.insert(place, canary)
    return "".join(words)
