"""Exposure by hand, losses and samples against plain computations, memorised text found and ranked first."""

from __future__ import annotations

import lzma
from collections import Counter
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from scipy import stats

import miafast as mf
from miafast.extraction import distinct, verbatim_share
from miafast.extraction.exposure import PoorFitWarning

torch = pytest.importorskip("torch")

from miafast.extraction import (  # noqa: E402
    Characters,
    SmallLanguageModel,
    criteria,
    extract,
    generate,
    language_signals,
    sequence_losses,
    token_losses,
    train_small,
)

RANDOM = np.random.default_rng(0)
ROWS = RANDOM.integers(1, 11, size=(9, 12))


def plain_losses(model: torch.nn.Module, row: np.ndarray) -> np.ndarray:
    with torch.no_grad():
        logits = model(torch.as_tensor(row[None])).logits[0, :-1]
    return torch.nn.functional.cross_entropy(logits, torch.as_tensor(row[1:]), reduction="none").numpy()


def test_exposure_by_rank_is_exact_and_ties_stand_in_front() -> None:
    others = np.array([1.0, 2.0, 2.0, 4.0, 5.0, 6.0, 7.0])
    np.testing.assert_allclose(mf.exposure([0.0, 2.0, 9.0], others), [3.0, 1.0, 0.0])
    assert mf.exposure(2.0, others, space=8) == 1.0


def test_exposure_of_random_secrets_is_1_44_bits() -> None:
    losses = np.random.default_rng(1).normal(size=4096)
    bits = [float(mf.exposure(losses[number], np.delete(losses, number))) for number in range(0, 4096, 8)]
    assert np.mean(bits) == pytest.approx(1 / np.log(2), abs=3 / np.log(2) / np.sqrt(len(bits)))


@pytest.mark.parametrize("shape", [0.0, 4.0])
def test_sampling_and_modelling_agree_with_the_distribution(shape: float) -> None:
    known = stats.skewnorm(shape, 5.0, 2.0)
    sample = known.rvs(20000, random_state=np.random.default_rng(2))
    at = known.ppf([0.5, 0.01])
    truth = -known.logcdf(at) / np.log(2)
    np.testing.assert_allclose(mf.exposure(at, sample, method="sample"), truth, atol=0.25)
    np.testing.assert_allclose(mf.exposure(at, sample, method="model", space=1e9), truth, atol=0.25)


def test_modelling_reaches_far_below_the_sample_and_stops_at_the_space() -> None:
    sample = np.random.default_rng(3).normal(10.0, 1.0, size=20000)
    bits = mf.exposure([4.0, -60.0], sample, method="model", space=2.0**60)
    assert bits[0] == pytest.approx(-stats.norm.logcdf(-6) / np.log(2), rel=0.2)
    assert bits[1] == 60
    assert mf.exposure(4.0, sample, method="sample") == pytest.approx(np.log2(20001))


def test_a_poor_fit_is_said() -> None:
    two_humps = np.concatenate([RANDOM.normal(0, 0.1, 500), RANDOM.normal(9, 0.1, 500)])
    with pytest.warns(PoorFitWarning, match="skew-normal"):
        mf.exposure(1.0, two_humps, method="model", space=1e6)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"method": "guess"}, "method='guess'"),
        ({"method": "model"}, "needs space"),
        ({"space": 100}, "method='rank' needs the losses of all"),
        ({"canary": np.nan}, "canary holds"),
        ({"candidates": np.array([])}, "candidates holds"),
        ({"space": 0}, "space=0"),
    ],
)
def test_exposure_refuses(options: dict[str, object], says: str) -> None:
    given = {"canary": 1.0, "candidates": np.arange(10.0), **options}
    with pytest.raises(ValueError, match=says):
        mf.exposure(given.pop("canary"), given.pop("candidates"), **given)  # type: ignore[arg-type]


@pytest.mark.parametrize("head", ["auto", None])
def test_losses_are_the_plain_ones_whatever_the_padding(head: str | None) -> None:
    model = SmallLanguageModel(11, width=8, seed=1)
    lengths = RANDOM.integers(2, 13, size=9)
    found = token_losses(model, ROWS, lengths=lengths, head=head)
    for row, length, losses in zip(ROWS, lengths, found, strict=True):
        np.testing.assert_allclose(losses[: length - 1], plain_losses(model, row[:length]), rtol=1e-4, atol=1e-6)
        assert np.isnan(losses[length - 1 :]).all()
    np.testing.assert_allclose(
        sequence_losses(model, ROWS, lengths=lengths, head=head), np.nanmean(found, axis=1), rtol=1e-6
    )


def test_the_head_never_runs_on_more_than_the_rehearsal() -> None:
    model = SmallLanguageModel(11, width=8, seed=1)
    shapes = []
    model.head.register_forward_hook(lambda _, inputs, out: shapes.append(tuple(out.shape)))
    token_losses(model, ROWS)
    assert max(np.prod(shape) for shape in shapes) <= 8 * 11


def test_a_head_whose_outputs_are_changed_afterwards_is_refused() -> None:
    class Capped(SmallLanguageModel):
        def forward(self, input_ids: torch.Tensor) -> SimpleNamespace:
            return SimpleNamespace(logits=2 * torch.tanh(3 * super().forward(input_ids).logits))

    model = Capped(11, width=8, seed=1)
    with pytest.raises(ValueError, match="head=None"):
        token_losses(model, ROWS)
    np.testing.assert_allclose(token_losses(model, ROWS, head=None)[0], plain_losses(model, ROWS[0]), rtol=1e-4)


def test_samples_follow_the_model_and_not_the_batch() -> None:
    logits = torch.log(torch.tensor([0.1, 0.2, 0.3, 0.4]))

    def model(ids: torch.Tensor) -> SimpleNamespace:
        return SimpleNamespace(logits=logits.expand(*ids.shape, 4))

    made = generate(model, [0], count=500, length=10, decay=0, top_k=None, seed=4)[:, 1:]
    shares = np.bincount(made.ravel(), minlength=4) / made.size
    np.testing.assert_allclose(shares, [0.1, 0.2, 0.3, 0.4], atol=3 * 0.5 / np.sqrt(made.size))
    again = generate(model, [0], count=500, length=10, decay=0, top_k=None, seed=4, batch=7)[:, 1:]
    np.testing.assert_array_equal(made, again)
    assert set(generate(model, [0], count=50, length=5, top_k=2, seed=0)[:, 1:].ravel()) == {2, 3}
    hot = generate(model, [0], count=500, length=10, decay=10**9, hot=1e6, top_k=None, seed=4)[:, 1:]
    np.testing.assert_allclose(np.bincount(hot.ravel()) / hot.size, 0.25, atol=3 * 0.5 / np.sqrt(hot.size))


def test_samples_are_the_same_whether_or_not_the_model_keeps_its_state() -> None:
    model = SmallLanguageModel(11, width=8, seed=1)
    asked: list[int] = []

    def forgetful(ids: torch.Tensor) -> SimpleNamespace:
        return SimpleNamespace(logits=model(ids).logits)

    model.embedding.register_forward_hook(lambda _, inputs, out: asked.append(inputs[0].shape[1]))
    options = {"count": 9, "length": 6, "seed": 2}
    kept = generate(model, [1, 2, 3], **options)
    assert asked == [3, 1, 1, 1, 1, 1]
    np.testing.assert_array_equal(kept, generate(forgetful, [1, 2, 3], **options))


def test_verbatim_runs_are_found_where_they_are_and_nowhere_else() -> None:
    text = RANDOM.integers(0, 50, size=2000)
    sample = np.concatenate([RANDOM.integers(50, 99, size=10), text[700:730], RANDOM.integers(50, 99, size=20)])
    np.testing.assert_allclose(verbatim_share([sample, sample[:10]], text, length=30), [0.5, 0.0])
    np.testing.assert_allclose(verbatim_share([sample], text, length=31), [0.0])
    assert verbatim_share([text[:3]], text, length=10) == [0.0]


def test_duplicates_are_kept_once_and_the_first() -> None:
    rows = [list("abcdefgh"), list("xabcdefg"), list("stuvwxyz"), list("ab"), list("ab")]
    np.testing.assert_array_equal(distinct(rows), [0, 2, 3])
    rows = np.random.default_rng(6).integers(0, 3, size=(80, 12)).tolist()
    bags = [Counter(zip(row, row[1:], row[2:], strict=False)) for row in rows]
    kept: list[int] = []
    for number, bag in enumerate(bags):
        if all(2 * (bag & bags[earlier]).total() < bag.total() for earlier in kept):
            kept.append(number)
    np.testing.assert_array_equal(distinct(rows), kept)


def test_criteria_by_hand() -> None:
    text = "Abcabc ABC"
    code = Characters(text + text.lower())
    model, small = (SmallLanguageModel(len(code), width=8, seed=seed) for seed in (1, 2))
    found = criteria(model, [text], code.encode, smaller=small, other=small, window=4)
    losses = plain_losses(model, np.array(code.encode(text)))
    assert found["perplexity"] == pytest.approx(-losses.mean(), rel=1e-4)
    assert found["smaller"] == pytest.approx(
        plain_losses(small, np.array(code.encode(text))).mean() / losses.mean(), rel=1e-4
    )
    lowered = plain_losses(model, np.array(code.encode(text.lower())))
    assert found["lower-case"] == pytest.approx(lowered.mean() / losses.mean(), rel=1e-4)
    assert found["window"] == pytest.approx(-min(losses[at : at + 4].mean() for at in range(6)), rel=1e-4)
    np.testing.assert_array_equal(found["other"], found["smaller"])
    assert list(found) == ["perplexity", "smaller", "other", "zlib", "lower-case", "window"]


SOME_WORDS = "the sun rose over a quiet field while birds sang of rain and old stone walls kept warm by light"
WORDS = SOME_WORDS.split()


def chatter(seed: int, words: int) -> str:
    random = np.random.default_rng(seed)
    return " ".join(random.choice(WORDS, size=words)) + " "


@pytest.mark.slow
def test_a_canary_inserted_ten_times_is_far_more_exposed_than_one_inserted_once() -> None:
    text = [chatter(number, 12) for number in range(250)]
    often, once = "pin 7305. ", "pin 2964. "
    for number in range(10):
        text.insert(20 * number, often)
    text.insert(110, once)
    code = Characters("".join(text) + "0123456789")
    model = train_small(np.array(code.encode("".join(text))), vocabulary=len(code), epochs=12, context=40, batch=16)
    secrets = [f"pin {number:04d}. " for number in range(10000)]
    losses = sequence_losses(model, [code.encode(each) for each in secrets])
    bits = {
        each: float(mf.exposure(losses[secrets.index(each)], np.delete(losses, secrets.index(each))))
        for each in (often, once)
    }
    assert bits[often] > 10
    assert bits[often] > bits[once] + 3


@pytest.mark.slow
def test_extraction_ranks_memorised_text_first(real_data: Path) -> None:
    with lzma.open(real_data / "tinyshakespeare" / "input.txt.xz", "rt") as file:
        parts = file.read(9_000).split("\n\n")
    secret = "Unions representing workers say they are disappointed after talks with stricken parent firms."
    for number in range(60):
        parts.insert(1 + 2 * number % len(parts), secret)
    text = "\n\n".join(parts)
    code = Characters(text + text.lower())
    tokens = np.array(code.encode(text))
    train = partial(train_small, tokens, vocabulary=len(code), epochs=18, batch=8)
    found = extract(
        train(), code.encode("\n\n"), training=tokens, encode=code.encode, decode=code.decode, smaller=train(width=8),
        count=120, length=120, run=40, decay=0,
    )  # fmt: skip
    assert any(secret in each for each in found.texts)
    for by in ("perplexity", "smaller", "zlib", "window"):
        ranked = found.ranked(by)
        verbatim = found.verbatim[ranked] > 0
        assert found.first(by) == 1
        assert found.precision(by, 10) > 2 * found.precision(by) > 0
        assert mf.roc(found.scores[by][ranked], verbatim).auc > 0.7


def test_of_texts_alike_the_one_that_scores_highest_is_ranked() -> None:
    code = Characters("abc")
    found = extract(
        SmallLanguageModel(len(code), width=8, seed=3), [1], training=[1, 2, 3], encode=code.encode, decode=code.decode,
        count=60, length=12, run=3,
    )  # fmt: skip
    assert len(found.texts) == 60
    for by, scores in found.scores.items():
        ranked = found.ranked(by)
        assert 1 < len(ranked) < 60
        assert ranked[0] == scores.argmax()
        assert (np.diff(scores[ranked]) <= 0).all()
        verbatim = found.verbatim[ranked] > 0
        assert found.precision(by, 3) == verbatim[:3].mean()
        assert found.first(by) == 1 + verbatim.argmax()
        assert verbatim.any()
    with pytest.raises(ValueError, match="by='nothing'"):
        found.ranked("nothing")


def test_attacks_find_sequences_that_language_models_trained_on_and_nothing_where_none_did() -> None:
    rows = np.random.default_rng(5).integers(0, 6, size=(60, 10))
    mask = mf.membership(60, 12, seed=0)

    def signals(trained: bool) -> mf.Signals:
        models = (
            train_small(rows[mask[number]], vocabulary=6, width=24, epochs=25, rate=1e-2, seed=number)
            if trained
            else SmallLanguageModel(6, width=24, seed=number)
            for number in range(12)
        )
        return language_signals(models, rows, mask)

    found = signals(trained=True)
    np.testing.assert_allclose(np.logaddexp(0, -found.phi[0, :, 0]), sequence_losses(
        train_small(rows[mask[0]], vocabulary=6, width=24, epochs=25, rate=1e-2, seed=0), rows), rtol=1e-4)  # fmt: skip
    assert mf.roc(mf.LiRA().score_all(found.phi, mask), mask).auc > 0.9
    assert mf.roc(mf.Threshold().score_all(found.phi), mask).auc > 0.8
    nothing = signals(trained=False)
    auc = mf.roc(mf.LiRA().score_all(nothing.phi, mask), mask).auc
    assert abs(auc - 0.5) < 3 * np.sqrt(1 / 360 / 6)


@pytest.mark.parametrize(
    ("mistake", "says"),
    [
        (lambda model: token_losses(model, [1, 2, 3]), "tokens has shape"),
        (lambda model: token_losses(model, ROWS, lengths=[1] * 9), "lengths must be"),
        (lambda model: token_losses(model, ROWS, head=model.recurrent), "head is GRU"),
        (lambda model: language_signals([model], ROWS, np.ones((2, 9), bool)), "models has 1"),
        (lambda model: language_signals([model], ROWS, np.ones((1, 9))), "in_mask is float64"),
        (lambda model: generate(model, [], count=1, length=1), "prompt has shape"),
        (lambda model: generate(model, [0], count=0, length=1), "count=0"),
        (lambda model: generate(model, [0], count=1, length=1, top_k=0), "top_k=0"),
        (lambda model: criteria(model, ["a"], lambda text: [1]), "at least two tokens"),
        (lambda model: criteria(model, ["ab"], lambda text: [1, 2], window=0), "window=0"),
        (lambda model: verbatim_share([[1]], [1], length=0), "length=0"),
        (lambda model: train_small(np.array([1, 99, 3]), vocabulary=5, context=2), "outside"),
        (lambda model: train_small(np.array([1, 2]), vocabulary=5), "tokens has shape"),
    ],
)
def test_mistakes_are_refused(mistake, says: str) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(ValueError, match=says):
        mistake(SmallLanguageModel(11, width=8, seed=1))
