"""logit_confidence and signals: closed forms, properties, errors, and every instruction set of this machine."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings, strategies as st
from hypothesis.extra import numpy as arrays
from scipy import special

import miafast as mf
from miafast import _native
from miafast.ops.dispatch import BFLOAT16
from tests.cases.logits import logits_cases
from tests.test_ops import test_twin_agrees_with_the_truth as twin_agrees_with_the_truth

OPS = [mf.logit_confidence, mf.signals]
BACKENDS = ["numpy", "cpp"]
FLOATS = [np.float32, np.float64]


@pytest.fixture(params=BACKENDS)
def everywhere(request: pytest.FixtureRequest) -> Iterator[str]:
    with mf.backend(request.param):
        yield request.param


@pytest.fixture
def instruction_set() -> Iterator[Callable[[str], None]]:
    best = _native.isa()
    yield _native.limit_isa
    _native.limit_isa(best)


@pytest.mark.parametrize("isa", _native.isas())
@pytest.mark.parametrize("op_name", ["logit_confidence", "signals"])
def test_every_instruction_set_agrees_with_the_truth(
    isa: str, op_name: str, instruction_set: Callable[[str], None]
) -> None:
    instruction_set(isa)
    assert _native.isa() == isa
    for case in logits_cases():
        twin_agrees_with_the_truth(op_name, case, "cpp")


def test_an_unknown_instruction_set_is_refused() -> None:
    with pytest.raises(ValueError, match=r"isa=mmx cannot run on this machine; _native\.isas\(\) lists what can"):
        _native.limit_isa("mmx")


@pytest.mark.parametrize("dtype", FLOATS)
def test_phi_does_not_saturate(dtype: type, everywhere: str) -> None:
    logits = np.array([[120, 0, 0], [0, 120, 0], [1e4, 0, 0], [1e4, 1e4, 1e4 + 1], [1e30, -1e30, 0]], dtype)
    expected = [120 - np.log(2), -120 - np.log1p(np.exp(-120)), 1e4 - np.log(2), -np.log1p(np.e), 1e30]
    phi = mf.logit_confidence(logits, np.zeros(5, np.int64))
    np.testing.assert_allclose(phi, expected, rtol=2 * np.finfo(dtype).eps)
    assert phi.dtype == dtype


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("gap", [1.0, 10.0, 20.0, 40.0, 80.0])
def test_two_classes_in_closed_form(dtype: type, gap: float, everywhere: str) -> None:
    found = mf.signals(np.array([[gap, 0], [0, gap]], dtype), np.zeros(2, np.int64))
    p, q = special.expit(gap), special.expit(-gap)
    loss, wrong_loss = np.log1p(np.exp(-gap)), gap + np.log1p(np.exp(-gap))
    close = {"rtol": (8 + 2 * gap) * np.finfo(dtype).eps, "atol": np.finfo(np.float32).tiny}
    np.testing.assert_allclose(found.phi, [gap, -gap], **close)
    np.testing.assert_allclose(found.loss, [loss, wrong_loss], **close)
    np.testing.assert_allclose(found.confidence, [p, q], **close)
    np.testing.assert_allclose(found.entropy, [p * loss + q * wrong_loss] * 2, **close)
    np.testing.assert_allclose(found.modified_entropy, [2 * q * loss, 2 * p * wrong_loss], **close)
    np.testing.assert_array_equal(found.margin, [gap, -gap])
    np.testing.assert_array_equal(found.correct, [True, False])


@pytest.mark.parametrize("classes", [2, 7, 100, 5000])
def test_equal_logits_in_closed_form(classes: int, everywhere: str) -> None:
    found = mf.signals(np.full((3, classes), 5.0), np.array([0, classes - 1, 1]))
    np.testing.assert_allclose(found.phi, -np.log(classes - 1), atol=1e-13)
    np.testing.assert_allclose(found.entropy, np.log(classes), rtol=1e-13)
    rest = (classes - 1) / classes
    np.testing.assert_allclose(found.modified_entropy, rest * (np.log(classes) - np.log(rest)), rtol=1e-13)
    np.testing.assert_array_equal(found.correct, [True, False, False])


def test_one_class_is_certain(everywhere: str) -> None:
    found = mf.signals(np.array([[3.0], [-7.0]]), np.zeros(2, np.int64))
    for values, expected in zip(found, (np.inf, 0, 1, 0, 0, np.inf, True), strict=True):
        np.testing.assert_array_equal(values, [expected, expected])


def test_relative_accuracy_however_sure(everywhere: str) -> None:
    """float32 keeps its digits where 1 - p is far below what float32 tells from 1."""
    rng = np.random.default_rng(0)
    logits = rng.normal(size=(400, 10)).astype(np.float32)
    labels = rng.integers(0, 10, 400)
    logits[np.arange(400), rng.integers(0, 10, 400)] += np.linspace(0, 60, 400, dtype=np.float32)
    with mf.backend("numpy"):
        exact = mf.signals(logits.astype(np.float64), labels)
    found = mf.signals(logits, labels)
    for name in ("loss", "confidence", "entropy", "modified_entropy"):
        tiny = np.finfo(np.float32).tiny
        np.testing.assert_allclose(getattr(found, name), getattr(exact, name), rtol=2e-5, atol=tiny, err_msg=name)
    assert exact.entropy.min() < 1e-20


def test_nan_marks_its_record_only(everywhere: str) -> None:
    logits, labels = np.zeros((130, 12), np.float32), np.arange(130) % 12
    clean = mf.signals(logits, labels)
    for record in range(0, 130, 7):
        logits[record, (5 * record) % 12] = np.nan
    marked = np.arange(130) % 7 == 0
    for name, values in mf.signals(logits, labels)._asdict().items():
        expected = getattr(clean, name).copy()
        expected[marked] = False if name == "correct" else np.nan
        np.testing.assert_array_equal(values, expected)


logit_rows = arrays.arrays(
    np.float64, st.tuples(st.integers(1, 40), st.integers(2, 30)), elements=st.floats(-20, 20, width=32)
)


@settings(max_examples=60, deadline=None)
@given(logits=logit_rows, shift=st.floats(-1000, 1000), seed=st.integers(0, 99))
def test_properties_of_phi(logits: np.ndarray, shift: float, seed: int) -> None:
    rng = np.random.default_rng(seed)
    records, classes = logits.shape
    labels = rng.integers(0, classes, records)
    phi = mf.logit_confidence(logits, labels)
    np.testing.assert_allclose(mf.logit_confidence(logits + shift, labels), phi, atol=1e-10)

    order = np.array([rng.permutation(np.delete(np.arange(classes), label)) for label in labels])
    mixed = np.hstack([logits[np.arange(records), labels][:, None], np.take_along_axis(logits, order, 1)])
    np.testing.assert_allclose(mf.logit_confidence(mixed, np.zeros(records, int)), phi, atol=1e-12)

    raised = logits.copy()
    raised[np.arange(records), labels] += 0.5
    np.testing.assert_allclose(mf.logit_confidence(raised, labels), phi + 0.5, atol=1e-12)

    confidence = special.softmax(logits, axis=1)[np.arange(records), labels]
    np.testing.assert_allclose(special.expit(phi), confidence, rtol=1e-12)
    middling = (confidence > 1e-6) & (confidence < 1 - 1e-6)
    by_probability = np.log(confidence[middling]) - np.log1p(-confidence[middling])
    np.testing.assert_allclose(phi[middling], by_probability, atol=1e-9)


@settings(max_examples=60, deadline=None)
@given(logits=logit_rows, seed=st.integers(0, 99))
def test_properties_of_signals(logits: np.ndarray, seed: int) -> None:
    records, classes = logits.shape
    labels = np.random.default_rng(seed).integers(0, classes, records)
    rows = np.arange(records)
    found = mf.signals(logits, labels)
    np.testing.assert_allclose(found.phi, mf.logit_confidence(logits, labels), atol=1e-13)
    np.testing.assert_allclose(found.loss, -special.log_softmax(logits, axis=1)[rows, labels], atol=1e-12)
    p = special.softmax(logits, axis=1)
    np.testing.assert_allclose(found.confidence, p[rows, labels], rtol=1e-12)
    np.testing.assert_allclose(found.entropy, special.entr(p).sum(axis=1), atol=1e-12)
    np.testing.assert_array_equal(found.correct, np.argmax(logits, axis=1) == labels)
    others = np.where(np.arange(classes) == labels[:, None], -np.inf, logits)
    np.testing.assert_array_equal(found.margin, logits[rows, labels] - others.max(axis=1))
    if p.max() < 1 - 1e-6:
        not_p = np.where(np.arange(classes) == labels[:, None], p, 1 - p)
        weight = np.where(np.arange(classes) == labels[:, None], 1 - p, p)
        np.testing.assert_allclose(found.modified_entropy, -(weight * np.log(not_p)).sum(axis=1), atol=1e-8)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_tensors_come_back_as_tensors(dtype: torch.dtype) -> None:
    logits = torch.randn(2, 30, 11, generator=torch.Generator().manual_seed(0)).to(dtype)
    labels = torch.arange(30) % 11
    exact = mf.signals(logits.double(), labels)
    wanted = torch.float64 if dtype == torch.float64 else torch.float32
    phi, found = mf.logit_confidence(logits, labels), mf.signals(logits, labels)
    assert phi.dtype == found.entropy.dtype == wanted
    assert found.correct.dtype == torch.bool
    torch.testing.assert_close(phi.double(), exact.phi, atol=1e-5, rtol=1e-6)
    torch.testing.assert_close(found.entropy.double(), exact.entropy, atol=1e-5, rtol=1e-6)


GOOD_LOGITS, GOOD_LABELS = np.zeros((4, 3)), np.array([0, 1, 2, 0])
BAD: list[tuple[Any, Any, type[Exception], str]] = [
    (GOOD_LOGITS, np.array([0, 1, 3, 9]), ValueError, r"labels\[2\] = 3 .* 3 classes of logits; .* \[0, 3\)"),
    (GOOD_LOGITS, np.array([0, -1, 2, 0]), ValueError, r"labels\[1\] = -1 .* \[0, 3\)"),
    (GOOD_LOGITS, np.array([0, 255, 2, 0], np.uint8), ValueError, r"labels\[1\] = 255"),
    (GOOD_LOGITS, np.array([0, 2**64 - 1, 2, 0], np.uint64), ValueError, r"labels\[1\] = 18446744073709551615"),
    (GOOD_LOGITS[None][:0], np.array([0, 1, 2, 3]), ValueError, r"labels\[3\] = 3"),
    (GOOD_LOGITS, np.array([0.0, 1.5, 2, 0]), TypeError, r"labels has dtype float64; give integer .*astype"),
    (GOOD_LOGITS, np.array([True] * 4), TypeError, r"labels has dtype bool; give integer"),
    (GOOD_LOGITS, GOOD_LABELS[:3], ValueError, r"labels has shape \(3,\) for 4 records; .* \(4,\)"),
    (GOOD_LOGITS, GOOD_LABELS[:, None], ValueError, r"labels has shape \(4, 1\) for 4 records"),
    (GOOD_LOGITS, [0, 1, 2, 0], TypeError, r"labels is a list; give a NumPy array"),
    ([[0.0]], np.array([0]), TypeError, r"logits is a list; give a NumPy array"),
    (GOOD_LOGITS.astype(int), GOOD_LABELS, TypeError, r"logits has dtype int64; give float16"),
    (GOOD_LOGITS.astype(">f4"), GOOD_LABELS, TypeError, r"logits has dtype >f4; .*byte order"),
    (np.zeros(3), GOOD_LABELS[:3], ValueError, r"logits has shape \(3,\); give \[\.\.\., records, classes\]"),
    (np.zeros((4, 0)), GOOD_LABELS, ValueError, r"logits has shape \(4, 0\), so 0 classes"),
]


@pytest.mark.parametrize("which", OPS)
@pytest.mark.parametrize(("logits", "labels", "error", "message"), BAD)
def test_bad_input_is_refused(
    which: Any, logits: Any, labels: Any, error: type[Exception], message: str, everywhere: str
) -> None:
    with pytest.raises(error, match=message):
        which(logits, labels)


@pytest.mark.parametrize("which", OPS)
def test_the_first_bad_label_is_named_whatever_the_threads(which: Any) -> None:
    labels = np.zeros(200_000, np.int32)
    labels[[70_001, 70_002, 199_999]] = 5, -7, 6
    with pytest.raises(ValueError, match=r"labels\[70001\] = 5"):
        which(np.zeros((2, 200_000, 5), np.float16), labels)


@pytest.mark.slow
@pytest.mark.parametrize("which", OPS)
@pytest.mark.parametrize("storage", [np.dtype(np.float16), BFLOAT16])
def test_more_than_two_to_the_31_elements(which: Any, storage: np.dtype[Any]) -> None:
    """np.zeros maps untouched pages to one page of zeros, so this reads 4 GiB that take no memory."""
    classes = 1024
    records = 2**31 // classes + 100
    logits = np.zeros((records, classes), storage)
    one = {"f": 0x3C00}.get(storage.kind, 0x3F80)
    logits.view(np.uint16)[-50:, 7] = one
    labels = np.full(records, 7, np.int16)
    result = which(logits, labels)
    phi = result if which is mf.logit_confidence else result.phi
    np.testing.assert_allclose(phi[:-50], -np.log(classes - 1), rtol=1e-6)
    np.testing.assert_allclose(phi[-50:], 1 - np.log(classes - 1), rtol=1e-6)
