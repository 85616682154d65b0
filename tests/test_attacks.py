"""Attacks from outside: options, refusals, kinds of arrays, records that cannot be scored, the released code."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from scipy import stats

import miafast as mf
from miafast.attacks import ReleasedLiRA, UnscoredRecordsWarning
from miafast.attacks.unscored import explain_nan

ATTACKS = [
    mf.LiRA(),
    mf.LiRA("offline"),
    mf.LiRA(queries="multivariate"),
    mf.LiRA("offline", queries="multivariate"),
    mf.LiRA.released_code(),
    mf.Threshold(),
]
NAMES = [f"{each.name}-{getattr(each, 'queries', '')}" for each in ATTACKS]


def leaky(
    models: int = 16, records: int = 60, queries: int = 2, dtype: type = np.float64
) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(models)
    in_mask = rng.random((models, records)) < 0.5
    in_mask[:3], in_mask[3:6] = True, False
    in_mask[6:, 0] = True
    phi = rng.normal(size=(models, records, queries)) + rng.normal(0, 2, size=(records, 1)) + 3.0 * in_mask[:, :, None]
    return phi.astype(dtype), in_mask


# --- options ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"mode": "both"}, "mode='both'"),
        ({"center": "mode"}, "center='mode'"),
        ({"variance": "global"}, "variance='global'.*'pooled'"),
        ({"mode": "offline", "tail": "upper"}, "tail='upper'"),
        ({"queries": "max"}, "queries='max'"),
        ({"tail": "two-sided"}, "tail='two-sided' is a choice of mode='offline'"),
        ({"center": ["mean"]}, "center="),
    ],
)
def test_a_bad_option_is_refused_at_construction(options: dict[str, object], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        mf.LiRA(**options)


@pytest.mark.parametrize("options", [{"variance": "pooled"}, {"mode": "on"}])
def test_the_released_code_refuses_what_it_never_had(options: dict[str, str]) -> None:
    with pytest.raises(ValueError, match="is not known; choose one of"):
        mf.LiRA.released_code(**options)


def test_attacks_say_what_they_are() -> None:
    assert [each.name for each in ATTACKS] == [
        "LiRA online", "LiRA offline", "LiRA online, multivariate queries", "LiRA offline, multivariate queries",
        "LiRA online (released code)", "loss threshold",
    ]  # fmt: skip
    assert all(each.signals == ("phi",) for each in ATTACKS)
    others = (
        mf.LiRA(variance="pooled"), mf.LiRA("offline", "median", "total", "two-sided"),
        mf.LiRA.released_code("total", "offline"),
    )  # fmt: skip
    assert [each.name for each in others] == [
        "LiRA online, pooled variance", "LiRA offline, two-sided, total variance, median centers",
        "LiRA offline (released code, total variance)",
    ]  # fmt: skip
    assert "variance='pooled'" in repr(mf.LiRA(variance="pooled"))
    assert mf.LiRA() == mf.LiRA()
    with pytest.raises(AttributeError):
        mf.LiRA().mode = "offline"


# --- direction, kinds, dtypes -----------------------------------------------------------------------------------


@pytest.mark.parametrize("attack", ATTACKS, ids=NAMES)
def test_members_score_higher(attack: object) -> None:
    phi, in_mask = leaky()
    scores = attack.score_all(phi, in_mask)
    assert scores.shape == in_mask.shape
    assert np.median(scores[in_mask]) > np.median(scores[~in_mask])
    one = attack.score(phi[0], phi[1:], in_mask[1:])
    assert one.shape == (60,)


@pytest.mark.parametrize("attack", ATTACKS, ids=NAMES)
def test_results_are_of_the_caller_s_kind_and_precision(attack: object) -> None:
    torch = pytest.importorskip("torch")
    phi, in_mask = leaky()
    for dtype, result in ((np.float16, np.float32), (np.float32, np.float32), (np.float64, np.float64)):
        expected = attack.score_all(phi.astype(dtype), in_mask)
        assert expected.dtype == result
        got = attack.score_all(torch.from_numpy(phi.astype(dtype)), torch.from_numpy(in_mask))
        assert isinstance(got, torch.Tensor)
        np.testing.assert_array_equal(got.numpy(), expected)


@pytest.mark.parametrize("attack", ATTACKS, ids=NAMES)
def test_one_query_may_be_left_out_of_the_shape(attack: object) -> None:
    phi, in_mask = leaky(queries=1)
    np.testing.assert_array_equal(attack.score_all(phi[..., 0], in_mask), attack.score_all(phi, in_mask))
    flat = attack.score(phi[0, :, 0], phi[1:, :, 0], in_mask[1:])
    np.testing.assert_array_equal(flat, attack.score(phi[0], phi[1:], in_mask[1:]))


@pytest.mark.parametrize("attack", ATTACKS, ids=NAMES)
def test_inputs_are_left_as_they_were(attack: object) -> None:
    phi, in_mask = leaky()
    phi.flags.writeable = in_mask.flags.writeable = False
    before = phi.copy()
    attack.score_all(phi, in_mask)
    np.testing.assert_array_equal(phi, before)


def test_queries_are_averaged() -> None:
    phi, in_mask = leaky(queries=3)
    attack = mf.LiRA(variance="per-record")
    each = [attack.score_all(phi[..., query], in_mask) for query in range(3)]
    np.testing.assert_allclose(attack.score_all(phi, in_mask), np.mean(each, axis=0), rtol=1e-9, atol=1e-12)


def test_the_loss_threshold_is_minus_the_mean_cross_entropy() -> None:
    rng = np.random.default_rng(0)
    p = rng.uniform(1e-3, 1 - 1e-3, size=(50, 4))
    scores = mf.Threshold().score(np.log(p) - np.log1p(-p))
    np.testing.assert_allclose(scores, np.log(p).mean(axis=1), rtol=1e-12)
    np.testing.assert_array_equal(mf.Threshold().score(np.array([-1e4, 1e4])), [-1e4, 0.0])


# --- refusals ---------------------------------------------------------------------------------------------------

PHI, IN_MASK = leaky(models=8, records=20, queries=1)


@pytest.mark.parametrize("attack", [each for each in ATTACKS if each.name != "loss threshold"])
@pytest.mark.parametrize(
    ("shadow", "in_mask", "said"),
    [
        (PHI, IN_MASK.astype(int), r"in_mask has dtype int64; give booleans: in_mask\.astype\(bool\)"),
        (PHI, IN_MASK.T, r"in_mask has shape \(20, 8\).*8 models and 20 records.*transposed: in_mask\.T"),
        (PHI, IN_MASK[:, :-1], r"in_mask has shape \(8, 19\)"),
        (PHI[:0], IN_MASK[:0], "at least one model"),
        (PHI[..., :0], IN_MASK, "at least one model and one query"),
        (PHI[0, :, 0], IN_MASK, r"shadow has shape \(20,\); give \[models, records\]"),
        (PHI[None], IN_MASK, r"shadow has shape \(1, 8, 20, 1\)"),
        (PHI.astype(int), IN_MASK, "shadow has dtype int64; give signals as floating numbers"),
        (np.ma.masked_less(PHI, 0.0), IN_MASK, "an array is masked, which no op heeds"),
        (PHI, IN_MASK.tolist(), "in_mask is a list; give a NumPy array"),
        (PHI, np.ones_like(IN_MASK), "in_mask is True everywhere: no model left a record out"),
        (PHI.tolist(), IN_MASK, "shadow is a list"),
    ],
)
def test_bad_input_is_refused_with_its_remedy(attack: object, shadow: object, in_mask: object, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        attack.score_all(shadow, in_mask)


@pytest.mark.parametrize("backend", ["cpp", "numpy"])
def test_a_matrix_is_an_array_of_its_numbers(backend: str) -> None:
    with mf.backend(backend):
        found = mf.LiRA().score_all(PHI, IN_MASK.view(np.matrix))
        np.testing.assert_array_equal(found, mf.LiRA().score_all(PHI, IN_MASK))


@pytest.mark.skipif(np.dtype(np.longdouble).itemsize == 8, reason="no numbers here are longer than float64")
def test_numbers_longer_than_float64_are_refused() -> None:
    with pytest.raises(
        ValueError, match="shadow has dtype float128; give signals as floating numbers, float64 at most"
    ):
        mf.LiRA().score_all(PHI.astype(np.longdouble), IN_MASK)


def test_a_mask_without_in_models_is_refused_online_and_fine_offline() -> None:
    nobody = np.zeros_like(IN_MASK)
    with pytest.raises(ValueError, match=r"False everywhere.*mode='offline'"):
        mf.LiRA().score(PHI[0], PHI, nobody)
    assert np.isfinite(mf.LiRA("offline").score(PHI[0], PHI, nobody)).all()


def test_a_target_about_other_records_is_refused() -> None:
    with pytest.raises(ValueError, match=r"target has shape \(19, 1\).*\(20, 1\)"):
        mf.LiRA().score(PHI[0, 1:], PHI, IN_MASK)
    with pytest.raises(ValueError, match="target has dtype int64"):
        mf.LiRA().score(PHI[0].astype(int), PHI, IN_MASK)


def test_one_model_cannot_be_left_out() -> None:
    with pytest.raises(ValueError, match="leaving one out needs at least 2"):
        mf.LiRA("offline").score_all(PHI[:1], np.zeros((1, 20), bool))


@pytest.mark.parametrize("attack", ATTACKS, ids=NAMES)
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_signals_that_are_not_finite_never_pass(attack: object, value: float) -> None:
    phi, in_mask = leaky(queries=1)
    phi[5, 7, 0] = value
    with pytest.raises(ValueError, match=r"shadow holds 1 NaN or infinite values \(first at \[5, 7, 0\]\)"):
        attack.score_all(phi, in_mask)
    with pytest.raises(ValueError, match=r"target holds 1 NaN or infinite values \(first at \[7, 0\]\)"):
        attack.score(phi[5], phi[:5], in_mask[:5])


@pytest.mark.parametrize("variance", ["per-record", "pooled", "shrunken", "total"])
@pytest.mark.parametrize("center", ["mean", "median"])
@pytest.mark.parametrize("mode", ["online", "offline"])
def test_every_rule_sees_one_bad_shadow_signal(mode: str, center: str, variance: str) -> None:
    phi, in_mask = leaky(queries=1)
    bad = int(np.flatnonzero(~in_mask[5])[0])
    for value in (np.nan, np.inf):
        phi[5, bad, 0] = value
        with pytest.raises(ValueError, match="shadow holds 1 NaN or infinite values"):
            mf.LiRA(mode, center, variance).score(phi[0], phi[1:], in_mask[1:])


# --- records that cannot be scored --------------------------------------------------------------------------------


@pytest.mark.parametrize("variance", ["per-record", "pooled", "shrunken", "total"])
def test_a_record_without_in_models_is_nan_alone_counted_and_explained(variance: str) -> None:
    phi, in_mask = leaky()
    in_mask[:, 4] = False
    target = phi[0]
    with pytest.warns(UnscoredRecordsWarning, match=r"1 of 60 records \(first: 4\)"):
        scores = mf.LiRA(variance=variance).score(target, phi, in_mask)
    np.testing.assert_array_equal(np.flatnonzero(np.isnan(scores)), [4])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert np.isfinite(mf.LiRA("offline", variance=variance).score(target, phi, in_mask)).all()


def test_per_record_variance_needs_two_models_and_pooled_variance_one() -> None:
    phi, in_mask = leaky()
    in_mask[:, 4] = False
    in_mask[2, 4] = True
    with pytest.warns(UnscoredRecordsWarning, match="1 of 60"):
        scores = mf.LiRA(variance="per-record").score(phi[0], phi, in_mask)
    assert np.flatnonzero(np.isnan(scores)).tolist() == [4]
    for variance in ("pooled", "shrunken", "total"):
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            assert np.isfinite(mf.LiRA(variance=variance).score(phi[0], phi, in_mask)).all()


def test_no_record_that_can_be_scored_is_an_error() -> None:
    phi, in_mask = leaky(models=4)
    in_mask[:] = False
    in_mask[0] = True
    with pytest.raises(ValueError, match=r"no record with enough IN and OUT models.*train more models"):
        mf.LiRA(variance="per-record").score(phi[0], phi, in_mask)


def test_what_was_used_is_not_recommended() -> None:
    phi, in_mask = leaky(models=4, records=6)
    in_mask[:, ::2], in_mask[:, 1::2] = True, False
    with pytest.raises(ValueError, match=r"no record with enough") as said:
        mf.LiRA(variance="shrunken").score(phi[0], phi, in_mask)
    assert "shrunken" not in str(said.value)
    assert "mode='offline'" in str(said.value)
    with pytest.raises(ValueError, match=r"shrunken, pooled"):
        mf.LiRA(variance="per-record").score(phi[0], phi, in_mask)
    with pytest.raises(ValueError, match=r"train more models\.$"):
        explain_nan(np.full(3, np.nan), shadow=phi)


def test_signals_that_all_agree_do_not_divide_by_zero() -> None:
    _, in_mask = leaky()
    for variance in ("per-record", "pooled", "shrunken", "total"):
        scores = mf.LiRA(variance=variance).score_all(np.full(in_mask.shape, 3.0), in_mask)
        assert np.isfinite(scores).all()


# --- the released code ------------------------------------------------------------------------------------------


def released(
    keep: np.ndarray, scores: np.ndarray, check: np.ndarray, *, fix_variance: bool, offline: bool
) -> np.ndarray:
    """What the released generate_ours and generate_ours_offline compute, written down plainly."""
    dat_in = [scores[keep[:, j], j, :] for j in range(scores.shape[1])]
    dat_out = [scores[~keep[:, j], j, :] for j in range(scores.shape[1])]
    in_size, out_size = min(map(len, dat_in)), min(map(len, dat_out))
    dat_in = np.array([each[:in_size] for each in dat_in])
    dat_out = np.array([each[:out_size] for each in dat_out])
    mean_out = np.median(dat_out, 1)
    if offline:
        std_out = np.std(dat_out) if fix_variance else np.std(dat_out, 1)
        return stats.norm.logpdf(check, mean_out, std_out + 1e-30).mean(1)
    mean_in = np.median(dat_in, 1)
    std_in, std_out = (np.std(dat_in),) * 2 if fix_variance else (np.std(dat_in, 1), np.std(dat_out, 1))
    pr_in = -stats.norm.logpdf(check, mean_in, std_in + 1e-30)
    pr_out = -stats.norm.logpdf(check, mean_out, std_out + 1e-30)
    return (pr_in - pr_out).mean(1)


@pytest.mark.parametrize("fix_variance", [False, True])
@pytest.mark.parametrize("offline", [False, True])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_released_code_agrees_with_its_formulas_up_to_sign(fix_variance: bool, offline: bool, dtype: type) -> None:
    phi, in_mask = leaky(queries=3, dtype=dtype)
    target = phi[7] + dtype(0.25)
    attack = mf.LiRA.released_code("total" if fix_variance else "per-record", "offline" if offline else "online")
    assert isinstance(attack, ReleasedLiRA)
    expected = released(in_mask, phi.astype(float), target.astype(float), fix_variance=fix_variance, offline=offline)
    np.testing.assert_allclose(attack.score(target, phi, in_mask), -expected, rtol=1e-6)


def test_released_code_leaves_one_out_like_a_loop_over_targets() -> None:
    phi, in_mask = leaky()
    attack = mf.LiRA.released_code()
    everyone = attack.score_all(phi, in_mask)
    for target in range(len(phi)):
        others = np.arange(len(phi)) != target
        one = attack.score(phi[target], phi[others], in_mask[others])
        np.testing.assert_allclose(everyone[target], one, rtol=1e-12)


def test_released_code_refuses_a_record_without_in_models() -> None:
    phi, in_mask = leaky()
    in_mask[:, 4] = False
    with pytest.raises(ValueError, match=r"1 records \(first: 4\) fewer than 1 IN models"):
        mf.LiRA.released_code().score(phi[0], phi, in_mask)
