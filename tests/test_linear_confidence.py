"""phi without logits: the same as with them, on every instruction set, in bounded memory."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

import miafast as mf
from miafast import _native
from miafast.ops.dispatch import as_float
from miafast.ops.mlp_confidence import layers, mlp_confidence
from tests.cases import CASES

DRAW = np.random.default_rng(0)
FEATURES = DRAW.normal(size=(50, 8)).astype(np.float32)
WEIGHT = DRAW.normal(size=(3, 7, 8)).astype(np.float32)
BIAS = DRAW.normal(size=7).astype(np.float32)
LABELS = DRAW.integers(7, size=50)


@pytest.fixture
def limited_isa() -> Iterator[object]:
    best = _native.isa()
    yield _native.limit_isa
    _native.limit_isa(best)


@pytest.mark.parametrize("isa", _native.isas())
@pytest.mark.parametrize("op_name", ["linear_confidence", "mlp_confidence"])
def test_every_instruction_set_agrees_with_the_truth(op_name: str, isa: str, limited_isa: object) -> None:
    limited_isa(isa)  # type: ignore[operator]
    op = {"linear_confidence": mf.linear_confidence, "mlp_confidence": mlp_confidence}[op_name]
    make, tolerance = CASES[op_name]
    for case in make():
        if case.slow:
            continue
        with mf.backend("numpy"):
            wide = [as_float(each) if each is not None and each.dtype.kind in "fV" else each for each in case.args]
            expected = op(*wide, **case.kwargs)
        got = op(*case.args, **case.kwargs)
        np.testing.assert_array_equal(got.correct, expected.correct, err_msg=case.name)
        finite = np.isfinite(expected.phi)
        np.testing.assert_array_equal(got.phi[~finite], expected.phi[~finite], err_msg=case.name)
        allowed = np.broadcast_to(tolerance(case, expected.phi), finite.shape)[finite]
        assert np.all(np.abs(got.phi[finite] - expected.phi[finite]) <= allowed), case.name


@settings(max_examples=50, deadline=None)
@given(
    records=st.integers(1, 150), classes=st.integers(1, 210), width=st.integers(1, 40), models=st.integers(0, 3),
    seed=st.integers(0, 9),
)  # fmt: skip
def test_it_is_logit_confidence_of_the_product(records: int, classes: int, width: int, models: int, seed: int) -> None:
    draw = np.random.default_rng(seed)
    features = draw.normal(size=(records, width))
    weight = draw.normal(size=(*((models,) if models else ()), classes, width))
    bias, labels = draw.normal(size=classes), draw.integers(classes, size=records)
    logits = features @ weight.swapaxes(-1, -2) + bias
    found = mf.linear_confidence(features, weight, bias, labels)
    np.testing.assert_allclose(found.phi, mf.logit_confidence(logits, labels), rtol=1e-11, atol=1e-11)
    np.testing.assert_array_equal(found.correct, logits.argmax(axis=-1) == labels)


def test_a_perceptron_is_its_layers() -> None:
    widths = (8, 12, 7)
    weights = DRAW.normal(size=(4, 9 * 12 + 13 * 7))
    (first, first_bias), (last, last_bias) = layers(weights, widths)
    hidden = np.tanh(FEATURES @ first.swapaxes(-1, -2) + first_bias[:, None])
    expected = mf.linear_confidence(hidden, last, last_bias, LABELS)
    found = mlp_confidence(FEATURES, weights, LABELS, widths=widths, activation="tanh")
    np.testing.assert_allclose(found.phi, expected.phi, rtol=1e-11, atol=1e-11)
    np.testing.assert_array_equal(found.correct, expected.correct)


def test_what_bfloat16_holds_exactly_loses_no_digits() -> None:
    """Weights of many sizes, whose low halves matter: one bfloat16 product would be off by parts in 500."""
    bits = (FEATURES > 0).astype(np.float32)
    weight = WEIGHT[0] * np.float32(10.0) ** DRAW.integers(-3, 3, WEIGHT[0].shape).astype(np.float32)
    logits = bits.astype(np.float64) @ weight.T.astype(np.float64)
    found = mf.linear_confidence(bits, weight, None, LABELS)
    np.testing.assert_allclose(found.phi, mf.logit_confidence(logits, LABELS), rtol=3e-6, atol=3e-5)


@pytest.mark.parametrize("isa", _native.isas())
@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_sums_of_weights_are_looked_up_for_bits(dtype: type, isa: str, limited_isa: object) -> None:
    """Units and inputs that fill no table, and models whose weights are not finite or have infinite sums."""
    limited_isa(isa)  # type: ignore[operator]
    draw = np.random.default_rng(3)
    features, weight = draw.random((300, 83)) < 0.4, draw.normal(size=(5, 101, 83))
    labels, largest = draw.integers(101, size=300), np.finfo(dtype).max
    weight[1, 7, 11] = np.nan
    weight[2, 8, 12] = np.inf
    weight[3, 9, :3] = largest / 4, largest / 4, -largest / 4
    features[0, :12] = 0  # but inf × 0 is NaN, and must not be left out
    features, weight = features[:, ::-1].astype(dtype)[:, ::-1], weight.astype(dtype)
    found = mf.linear_confidence(features, weight, None, labels)
    with mf.backend("numpy"):
        expected = mf.linear_confidence(features.astype(np.float64), weight.astype(np.float64), None, labels)
    np.testing.assert_array_equal(found.correct, expected.correct)
    rtol = 1e-13 if dtype is np.float64 else 2e-5
    np.testing.assert_allclose(found.phi, expected.phi, rtol=rtol, atol=rtol)


def test_a_common_value_takes_no_digits_from_records_that_lack_it() -> None:
    draw = np.random.default_rng(11)
    features, weight = np.full((200, 300), 1000, np.float32), draw.normal(size=(20, 300)).astype(np.float32)
    features[:, ::5] = draw.normal(size=(200, 60))
    features[150] = draw.normal(size=300) / 1000
    found = mf.linear_confidence(features, weight, None, LABELS[:1].repeat(200))
    logits = features.astype(np.float64) @ weight.T.astype(np.float64)
    expected = mf.logit_confidence(logits, LABELS[:1].repeat(200))
    np.testing.assert_allclose(found.phi[150], expected[150], rtol=1e-6)


@pytest.mark.parametrize("inputs", ["few", "bits", "all"])
def test_more_records_than_are_prepared_at_once(inputs: str) -> None:
    draw = np.random.default_rng(7)
    features, weight = (
        draw.normal(size=(1500, 6000)).astype(np.float32),
        draw.normal(size=(17, 6000)).astype(np.float32),
    )
    if inputs == "few":
        features[draw.random(features.shape) > 0.05] = 0
    elif inputs == "bits":
        features = (features > 0).astype(np.float32)
    labels = draw.integers(17, size=1500)
    logits = features.astype(np.float64) @ (weight / 80).T.astype(np.float64)
    found = mf.linear_confidence(features, weight / 80, None, labels)
    np.testing.assert_allclose(found.phi, mf.logit_confidence(logits, labels), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("isa", _native.isas())
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("units", [17, 40, 75])
@pytest.mark.parametrize(("share", "common"), [(0, 0), (0.1, 0), (0.35, 0), (0.9, 0), (0.2, -2)])
def test_a_common_value_is_left_out(
    share: float, common: float, units: int, dtype: type, isa: str, limited_isa: object
) -> None:
    """Records of which all inputs are that value or none; but not where a weight is not finite."""
    limited_isa(isa)  # type: ignore[operator]
    draw = np.random.default_rng(5)
    features, weight = draw.normal(size=(500, 400)), draw.normal(size=(4, units, 400)) / 5
    features[draw.random(features.shape) >= share] = common
    features[250:400] = -0.0 if common == 0 else common
    features[400] = 1 / 3
    features[450, 3], features[451, 10] = np.nan, np.inf
    weight[1, 5, 3], weight[2, 6, 120] = np.inf, np.nan
    labels = draw.integers(units, size=500)
    bias = draw.normal(size=(4, units))
    bias[3, 7] = -np.inf
    features, weight, bias = features.astype(dtype), weight.astype(dtype), bias.astype(dtype)
    found = mf.linear_confidence(features, weight, bias, labels)
    with mf.backend("numpy"):
        wide = (each.astype(np.float64) for each in (features, weight, bias))
        expected = mf.linear_confidence(*wide, labels)
    assert np.isnan(expected.phi[1][features[:, 3] == 0]).all()
    assert np.isnan(expected.phi[2][features[:, 120] == common]).all()
    assert np.isfinite(expected.phi[0]).sum() == 498
    np.testing.assert_array_equal(found.correct, expected.correct)
    rtol = 1e-12 if dtype is np.float64 else 3e-5
    np.testing.assert_allclose(found.phi, expected.phi, rtol=rtol, atol=rtol)


@pytest.mark.parametrize("isa", _native.isas())
def test_products_of_bfloat16_have_float32_sums(isa: str, limited_isa: object) -> None:
    """As inputs of a head, of many models' heads, and where a hidden layer takes three bfloat16 numbers each."""
    torch = pytest.importorskip("torch")
    limited_isa(isa)  # type: ignore[operator]
    draw = np.random.default_rng(4)
    widths = (512, 40, 10)
    labels = draw.integers(10, size=300)
    features, heads, perceptrons = (
        torch.from_numpy(draw.normal(size=shape) * scale).bfloat16()
        for shape, scale in (((300, 512), 1), ((2, 50, 512), 0.05), ((2, 513 * 40 + 41 * 10), 0.05))
    )
    wide = [each.double().numpy() for each in (features, heads, perceptrons)]
    options = {"widths": widths, "activation": "tanh"}
    for found, expected in (
        (
            mf.linear_confidence(features, heads[0], None, labels),
            mf.linear_confidence(wide[0], wide[1][0], None, labels),
        ),
        (mf.linear_confidence(features, heads, None, labels), mf.linear_confidence(wide[0], wide[1], None, labels)),
        (mlp_confidence(features, perceptrons, labels, **options), mlp_confidence(wide[0], wide[2], labels, **options)),
    ):
        np.testing.assert_allclose(found.phi, expected.phi, rtol=2e-6, atol=4e-6)
        np.testing.assert_array_equal(found.correct, expected.correct)


@pytest.mark.parametrize("scale", ["plain", "columns", "records", "outliers", "positive"])
def test_no_instruction_set_is_less_exact_than_plain_float32(scale: str, limited_isa: object) -> None:
    """Each path's error against the float64 truth, next to that of one product after the other."""
    draw = np.random.default_rng(1)
    features, weight = draw.normal(size=(500, 200)), draw.normal(size=(64, 200)) / 5
    sizes = 10.0 ** draw.integers(-6, 7, 200)
    if scale == "columns":
        features, weight = features * sizes, weight / sizes
    elif scale == "records":
        features *= 10.0 ** draw.integers(-6, 3, (500, 1))
    elif scale == "outliers":
        features = draw.standard_cauchy(features.shape)
    elif scale == "positive":
        features, weight = abs(features), abs(weight)
    args = features.astype(np.float32), weight.astype(np.float32), None, draw.integers(64, size=500)
    truth = mf.linear_confidence(*(None if each is None else each.astype(np.float64) for each in args[:3]), args[3]).phi
    error = {}
    for isa in _native.isas():
        limited_isa(isa)  # type: ignore[operator]
        error[isa] = np.sqrt(np.mean(((mf.linear_confidence(*args).phi - truth) / (1 + abs(truth))) ** 2))
    assert max(error.values()) <= 1.1 * error["scalar"]


@pytest.mark.parametrize("hidden", [16, 64, 80])
@pytest.mark.parametrize(
    "inputs", ["normal", "pixels", "two sizes", "few", "huge", "bits", "few bits", "levels", "large"]
)
def test_wide_first_layers_are_as_exact_as_plain_float32(inputs: str, hidden: int, limited_isa: object) -> None:
    """Whole numbers stand in for float32 only where their common scale costs nothing: not where small inputs meet
    large weights ("two sizes"), where few of a record's inputs count, nor where no scale is a float32, nor where
    the next layer's parts are too small for AMX ("large")."""
    draw = np.random.default_rng(2)
    x, weights = draw.normal(size=(300, 446)), draw.normal(size=(3, 447 * hidden + (hidden + 1) * 9)) / 20
    if inputs == "pixels":
        x = (draw.integers(256, size=x.shape) / 255 - 0.45) / 0.22
    elif inputs == "two sizes":
        sizes = np.where(np.arange(446) % 2, 1e4, 1e-4)
        x *= sizes
        weights[:, : 446 * hidden] = (weights[:, : 446 * hidden].reshape(3, hidden, 446) / sizes).reshape(3, -1)
    elif inputs == "few":
        x *= draw.random(x.shape) < 0.01
    elif inputs == "huge":
        x[0] *= 1e30
    elif "bits" in inputs:
        x = draw.random(x.shape) < (0.01 if inputs == "few bits" else 0.3)
    elif inputs == "levels":  # seven bits of them, of another scale in every record
        x = draw.integers(-127, 128, x.shape) * 2.0 ** draw.integers(-16, -5, (300, 1))
    elif inputs == "large":
        weights[:, 446 * hidden + 2] = 1e36
        weights[:, 447 * hidden + 2 : -9 : hidden] /= 1e36
    options = {"widths": (446, hidden, 9), "activation": "relu" if inputs == "large" else "tanh"}
    x, weights, labels = x.astype(np.float32), weights.astype(np.float32), draw.integers(9, size=300)
    truth = mlp_confidence(x.astype(np.float64), weights.astype(np.float64), labels, **options).phi  # type: ignore[arg-type]
    error = {}
    for isa in _native.isas():
        limited_isa(isa)  # type: ignore[operator]
        found = mlp_confidence(x, weights, labels, **options).phi  # type: ignore[arg-type]
        error[isa] = np.sqrt(np.mean(((found - truth) / (1 + abs(truth))) ** 2))
    assert max(error.values()) <= 1.1 * error["scalar"]


def test_tensors_give_tensors() -> None:
    torch = pytest.importorskip("torch")
    features = torch.from_numpy(FEATURES).bfloat16()
    found = mf.linear_confidence(features, torch.from_numpy(WEIGHT), None, torch.from_numpy(LABELS))
    logits = features.double() @ torch.from_numpy(WEIGHT).double().mT
    expected = mf.logit_confidence(logits, torch.from_numpy(LABELS))
    assert found.correct.dtype == torch.bool
    torch.testing.assert_close(found.phi, expected.float(), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("where", ["cpp", "numpy"])
@pytest.mark.parametrize("bad", [-1, 7])
def test_a_label_out_of_range_is_named(where: str, bad: int) -> None:
    labels = LABELS.copy()
    labels[[33, 40]] = bad
    with mf.backend(where), pytest.raises(ValueError, match=rf"labels\[33\] = {bad} is not one of the 7 classes"):
        mf.linear_confidence(FEATURES, WEIGHT, BIAS, labels)
    with mf.backend(where), pytest.raises(ValueError, match=rf"labels\[33\] = {bad} is not one of the 7 classes"):
        mf.linear_confidence(FEATURES, WEIGHT[:0], BIAS, labels)


@pytest.mark.parametrize(
    ("args", "error", "message"),
    [
        (([[1.0]], WEIGHT, BIAS, LABELS), TypeError, "features is a list; give a NumPy array"),
        ((FEATURES.astype(int), WEIGHT, BIAS, LABELS), TypeError, "features has dtype int64; give float16"),
        ((FEATURES, WEIGHT, BIAS.astype(">f4"), LABELS), TypeError, "bias has dtype >f4"),
        ((FEATURES, WEIGHT, BIAS, LABELS * 1.0), TypeError, "labels has dtype float64; give integer"),
        ((FEATURES[0], WEIGHT, BIAS, LABELS), ValueError, r"labels has shape \(50,\) for 0 records"),
        ((FEATURES, WEIGHT, BIAS, LABELS[1:]), ValueError, r"labels has shape \(49,\) for 50 records"),
        ((FEATURES, WEIGHT[0, 0], BIAS, LABELS), ValueError, r"weight has shape \(8,\); give \[classes, width\], or"),
        ((FEATURES, WEIGHT[..., 1:], BIAS, LABELS), ValueError, r"weight \(3, 7, 7\); their last axes, the width"),
        ((FEATURES, WEIGHT[:, :0], BIAS, LABELS), ValueError, "so 0 classes"),
        ((FEATURES, WEIGHT, BIAS[1:], LABELS), ValueError, r"bias has shape \(6,\) for weight .* one number per class"),
        ((FEATURES[None], WEIGHT, BIAS, LABELS), ValueError, "disagree on the number of models"),
        ((FEATURES, WEIGHT, np.stack([BIAS, BIAS]), LABELS), ValueError, "disagree on the number of models"),
    ],
)
def test_bad_arguments_are_named(args: tuple[object, ...], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        mf.linear_confidence(*args)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"widths": (8,)}, r"widths=\(8,\); give the units of every layer"),
        ({"widths": (9, 7)}, r"x has shape \(50, 8\); widths=\(9, 7\) need \[records, 9\]"),
        ({"widths": (8, 6)}, r"weights has shape \(2, 63\); widths=\(8, 6\) need \[models, 54\]"),
        ({"activation": "gelu"}, "activation='gelu': choose relu, tanh"),
    ],
)
def test_perceptrons_that_do_not_fit_are_named(change: dict[str, object], message: str) -> None:
    arguments = {"widths": (8, 7), "activation": "relu"} | change
    with pytest.raises(ValueError, match=message):
        mlp_confidence(FEATURES, np.zeros((2, 63), np.float32), LABELS, **arguments)  # type: ignore[arg-type]


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="ru_maxrss is in KiB on Linux")
def test_a_language_models_head_stays_under_a_tenth_of_its_logits() -> None:
    code = """
import json, resource
import numpy as np
import miafast as mf
draw = np.random.default_rng(0)
features = draw.standard_normal((4096, 768), dtype=np.float32)
weight = draw.standard_normal((50257, 768), dtype=np.float32)
labels = draw.integers(50257, size=4096)
mf.linear_confidence(features[:2], weight[:2], None, labels[:2] % 2)
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
phi = mf.linear_confidence(features, weight, None, labels).phi
grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
logits = features[:3] @ weight.T
expected = mf.logit_confidence(logits, labels[:3])
print(json.dumps([grown * 1024, float(np.abs(phi[:3] - expected).max())]))
"""
    ran = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    grown, error = json.loads(ran.stdout)
    assert grown < 4096 * 50257 * 4 / 10
    assert error < 1e-3


@pytest.mark.skipif(sys.platform != "linux", reason="ru_maxrss is in KiB on Linux")
def test_records_of_each_models_own_are_split_in_pieces() -> None:
    code = """
import os, resource
import numpy as np
import miafast as mf
os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:2])
features = np.full((4, 60000, 128), 0.3, np.float32)
weight, labels = np.ones((4, 32, 128), np.float32), np.zeros(60000, int)
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
mf.linear_confidence(features, weight, None, labels)
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""
    ran = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert int(ran.stdout) * 1024 < 4 * 60000 * 128 * 4 / 5
