"""What the numbers say, in plain words: the headline, the verdict, and the measures as rows of text."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from miafast.report.measures import CONFIDENCE, HEADLINE_FPR, Facts, headline_level

#: How many attacks stand side by side in a terminal of 100 columns.
ABREAST = 3
NOT_MEASURABLE = "not measurable"

STRONG = (
    "When {name} points at a record, it is right at least {right} % of the time if half of the records it is asked "
    "about were trained on. Anyone who can query the model and has similar data can confirm that particular records "
    "were in its training set. If that must stay private, do not release the model as it is: reduce the leak first "
    "(more data, less training, stronger regularisation, differentially private training), then audit again."
)
MEASURABLE = (
    "{name} does better than guessing, so the model does give away something about who is in its training set, but few "
    "records can be named with confidence. Look at the most exposed records below and decide whether their owners "
    "could live with it; less training, stronger regularisation or more data lower the leak."
)
NO_LEAK = (
    "{name} does no better than guessing: at a false-alarm rate of {at}, finding more than {high} of the training "
    "records is ruled out with {confidence} confidence. This speaks about the attacks run here, not about every "
    "possible one."
)
TOO_SMALL = "Ask the same of at least 1,000 non-members before deciding about a release."


def percent(value: float | None, *, like: float | None = None) -> str:
    """A share in percent, with as many decimals as `like` (or the value itself) deserves.

    >>> percent(0.2134), percent(0.00123), percent(None)
    ('21.3 %', '0.12 %', '–')
    """
    return "–" if value is None else f"{100 * value:.{_decimals(value if like is None else like)}f} %"


def rate(fpr: float) -> str:
    """A false-alarm rate as it is spoken of.

    >>> rate(0.001), rate(0.1)
    ('0.1 %', '10 %')
    """
    return f"{100 * fpr:.10g} %"


def interval(low: float | None, high: float | None, *, like: float | None) -> str:
    """
    >>> interval(0.19, 0.235, like=0.213)
    '19.0–23.5 %'
    """
    if low is None or high is None or like is None:
        return "no interval"
    decimals = _decimals(like)
    return f"{100 * low:.{decimals}f}–{100 * high:.{decimals}f} %"


def plus_minus(spread: Facts, *, scale: float = 1.0, decimals: int = 3, unit: str = "") -> str:
    """Mean ± standard deviation.

    >>> plus_minus({"mean": 0.94, "sd": 0.012}), plus_minus({"mean": 0.5, "sd": None}, scale=100, decimals=1, unit=" %")
    ('0.940 ± 0.012', '50.0 %')
    """
    if spread["mean"] is None:
        return "–"
    mean = f"{scale * spread['mean']:.{decimals}f}"
    return mean + unit if spread["sd"] is None else f"{mean} ± {scale * spread['sd']:.{decimals}f}{unit}"


def aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    """A line per row, its columns below one another.

    >>> aligned([("a", "b"), ("long", "c")])
    ['a     b', 'long  c']
    """
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return ["  ".join(map(str.ljust, row, widths)).rstrip() for row in rows]


def headline(attack: Facts) -> str:
    """The one sentence to remember."""
    level, name, count = headline_level(attack), attack["name"], f"{attack['non_members']:,}"
    confidence = rate(CONFIDENCE)
    if level is None:
        auc = attack["auc"]
        ends = f"{auc['low']:.2f}–{auc['high']:.2f}" if auc["low"] is not None else "unknown"
        return (
            f"{count} non-members are too few to measure what {name} finds at a low false-alarm rate; its AUC is "
            f"{auc['value']:.2f} ({confidence} interval {ends}), and guessing would have 0.50."
        )
    at = rate(level["fpr"])
    if level["fpr"] != HEADLINE_FPR:
        at += f" (the lowest of the usual ones that {count} non-members can measure)"
    value = level["value"]
    return (
        f"At a false-alarm rate of {at}, {name} finds {percent(value)} "
        f"({confidence} interval {interval(level['low'], level['high'], like=value)}) of the training records; "
        f"guessing would find {rate(level['fpr'])}."
    )


def headline_facts(attack: Facts) -> Facts:
    """The headline and the numbers in it."""
    level = headline_level(attack)
    return {
        "text": headline(attack),
        "attack": attack["name"],
        "confidence": CONFIDENCE,
        "fpr": None if level is None else level["fpr"],
        "tpr": None if level is None else level["value"],
        "low": None if level is None else level["low"],
        "high": None if level is None else level["high"],
    }


def verdict(attacks: list[Facts]) -> tuple[str, str]:
    """How bad it is and what that means for a release.

    "strong": by the interval's lower end at least 9 of 10 alarms are right when half of the candidates are members, for
    any of the attacks; "measurable": the headline attack's lower end is above guessing, at that rate or in the AUC
    (the others are not asked: among many, one beats guessing by luck); else "none"; "unknown" when no usual false-alarm
    rate could be measured.
    """
    levels = [(each, level) for each in attacks if (level := headline_level(each)) and level["low"] is not None]
    if not levels:
        return "unknown", TOO_SMALL
    sure = [(each, level["low"] / (level["low"] + level["fpr"])) for each, level in levels]
    attack, right = next(((each, right) for each, right in sure if right >= 0.9), sure[0])
    if right >= 0.9:
        return "strong", STRONG.format(name=attack["name"], right=int(100 * right))
    attack, level = levels[0]
    if level["low"] > level["fpr"] or (attack["auc"]["low"] or 0) > 0.5:
        return "measurable", MEASURABLE.format(name=attack["name"])
    return "none", NO_LEAK.format(
        name=attack["name"], at=rate(level["fpr"]), high=percent(level["high"]), confidence=rate(CONFIDENCE)
    )


def cautions(attacks: list[Facts], accuracy: list[Facts]) -> list[str]:
    """What the numbers themselves say is wrong with the audit."""
    found = [
        f"{each['name']} does worse than guessing (AUC {each['auc']['value']:.3f}, {rate(CONFIDENCE)} interval "
        f"{each['auc']['low']:.3f}–{each['auc']['high']:.3f}): check which way its scores point and which records are "
        "marked as members."
        for each in attacks
        if each["auc"]["high"] is not None and each["auc"]["high"] < 0.5
    ]
    if len(accuracy) == 2 and _unlike(*(row["test"] for row in accuracy)):
        target, shadows = (plus_minus(row["test"], scale=100, decimals=1, unit=" %") for row in accuracy)
        found.append(
            f"The target's test accuracy is {target}, the shadow models' {shadows}: they were not trained like it, so "
            "the attacks are weaker than they could be."
        )
    return found


def _unlike(target: Facts, shadows: Facts) -> bool:
    """More than three standard deviations and two points apart."""
    if target["mean"] is None or shadows["mean"] is None:
        return False
    return bool(abs(target["mean"] - shadows["mean"]) > max(3 * (shadows["sd"] or 0), 0.02))


def measure_rows(attacks: list[Facts]) -> list[Facts]:
    """Groups of rows {"group", "rows": [{"label", "cells": [(text, small text), one per attack]}]}."""
    overall = [
        _row("AUC", (_auc(each) for each in attacks)),
        _row("balanced accuracy", ((percent(each["balanced_accuracy"], like=1), "") for each in attacks)),
        *(
            _row(f"TPR at {rate(row['fpr'])} FPR", (_tpr(each, place) for each in attacks))
            for place, row in enumerate(attacks[0]["tpr"])
        ),
    ]
    certain = [
        _row(
            "members found before the first false alarm",
            (
                (f"{each['true_positives_before_first_false_positive']:,}", f"of {each['members']:,}")
                for each in attacks
            ),
        ),
        *(
            _row(
                f"precision at {rate(row['fpr'])} FPR if {rate(row['prior'])} are members",
                (_precision(each, place) for each in attacks),
            )
            for place, row in enumerate(attacks[0]["precision"])
        ),
    ]
    groups: list[Facts] = [
        {"group": "All targets pooled" if attacks[0]["targets"] > 1 else "The target", "rows": overall},
        {"group": "How sure an alarm is", "rows": certain},
    ]
    if all(each["per_target"] for each in attacks):
        each_target = [
            _row("AUC", ((plus_minus(each["per_target"]["auc"]), "") for each in attacks)),
            *(
                _row(f"TPR at {rate(row['fpr'])} FPR", (_per_target(each, place) for each in attacks))
                for place, row in enumerate(attacks[0]["per_target"]["tpr"])
            ),
        ]
        groups.append({"group": f"Per target, mean ± sd of {attacks[0]['targets']}", "rows": each_target})
    return groups


def terminal_table(attacks: list[Facts], *, warnings: list[str]) -> str:
    """The pooled measures with their intervals for a terminal, and what to mind: attacks side by side while three
    fit, else one per line."""
    parts = [_block(attacks) if len(attacks) <= ABREAST else _lines(attacks)]
    notes = [*too_few([{**each, "per_target": None} for each in attacks]), *left_out(attacks), *warnings]
    return "\n\n".join([*parts, *(["\n".join(notes)] if notes else [])])


def too_few(attacks: list[Facts]) -> list[str]:
    """Why a measure says "not measurable", one sentence per number of non-members."""
    counts = {each["non_members"]: each["tpr"] for each in attacks}
    notes = [_cannot(rows, f"With {count:,} non-members") for count, rows in counts.items()]
    of_one = {each["per_target"]["non_members"]: each["per_target"]["tpr"] for each in attacks if each["per_target"]}
    notes += [_cannot(rows, f"With the {count:,} non-members of a single target") for count, rows in of_one.items()]
    return [note for note in notes if note]


def _cannot(rows: list[Facts], who: str) -> str:
    rates = [row["fpr"] for row in rows if not row["measurable"]]
    if not rates:
        return ""
    needed = _listed([f"{round(1 / fpr):,}" for fpr in rates])
    return f"{who}, {_listed([rate(fpr) for fpr in rates])} FPR cannot be measured; that takes {needed}."


def _listed(texts: list[str]) -> str:
    return " and ".join([", ".join(texts[:-1]), texts[-1]] if len(texts) > 1 else texts)


def left_out(attacks: list[Facts]) -> list[str]:
    """What attacks could not score, one sentence for all that left out as many."""
    counts = {(each["unscored"], _cases(each)): None for each in attacks if each["unscored"]}
    return [
        f"{_listed([each['name'] for each in attacks if (each['unscored'], _cases(each)) == (unscored, cases)])} could "
        f"not score {unscored:,} of {cases:,} cases (a record needs models with and without it, and must not be the "
        "attacker's own); they are left out of every measure."
        for unscored, cases in counts
    ]


def _cases(attack: Facts) -> int:
    return int(attack["unscored"] + attack["members"] + attack["non_members"])


def _block(attacks: list[Facts]) -> str:
    rows = [["", *(each["name"] for each in attacks)]]
    for row in measure_rows(attacks)[0]["rows"]:
        rows.append([row["label"], *(f"{text} ({small})" if small else text for text, small in row["cells"])])
    return _table(rows)


def _lines(attacks: list[Facts]) -> str:
    """One attack per line; intervals at the lowest false-alarm rates alone, where they are wide."""
    measured = measure_rows(attacks)[0]["rows"]
    rows = [["", *(row["label"] for row in measured)]]
    for place, attack in enumerate(attacks):
        cells = [row["cells"][place] for row in measured]
        texts = [
            f"{text} ({small})" if small and at >= len(cells) - 2 else text for at, (text, small) in enumerate(cells)
        ]
        rows.append([attack["name"], *texts])
    return _table(rows)


def _table(rows: list[list[str]]) -> str:
    lines = aligned(rows)
    return "\n".join([lines[0], "─" * max(map(len, lines)), *lines[1:]])


def _row(label: str, cells: Iterator[tuple[str, str]]) -> Facts:
    return {"label": label, "cells": list(cells)}


def _auc(attack: Facts) -> tuple[str, str]:
    auc = attack["auc"]
    ends = "" if auc["low"] is None else f"{auc['low']:.3f}–{auc['high']:.3f}"
    return f"{auc['value']:.3f}", ends


def _tpr(attack: Facts, place: int) -> tuple[str, str]:
    row = attack["tpr"][place]
    if not row["measurable"]:
        return NOT_MEASURABLE, ""
    return percent(row["value"]), interval(row["low"], row["high"], like=row["value"])


def _precision(attack: Facts, place: int) -> tuple[str, str]:
    row = attack["precision"][place]
    if not row["measurable"]:
        return NOT_MEASURABLE, ""
    return percent(row["value"]), ""


def _per_target(attack: Facts, place: int) -> tuple[str, str]:
    row = attack["per_target"]["tpr"][place]
    if not row["measurable"]:
        return NOT_MEASURABLE, ""
    return plus_minus(row, scale=100, decimals=max(1, _decimals(row["mean"])), unit=" %"), ""


def _decimals(share: float) -> int:
    return 1 if share >= 0.01 else 2
