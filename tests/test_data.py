"""Records from arrays and other libraries' data sets: the rules on inputs and labels, and what is refused."""

from __future__ import annotations

import warnings
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

from miafast.data import from_arrays, from_dataset
from miafast.tables import Records
from tests.small_files import X, Y

RNG = np.random.default_rng(2)


def test_images_become_channels_first() -> None:
    grey, colour = RNG.integers(0, 256, (4, 8, 8), dtype=np.uint8), RNG.integers(0, 256, (4, 8, 6, 3), dtype=np.uint8)
    y = [0, 1, 0, 1]
    np.testing.assert_array_equal(from_arrays(grey, y).x, grey[:, None])
    np.testing.assert_array_equal(from_arrays(colour, y).x, colour.transpose(0, 3, 1, 2))
    np.testing.assert_array_equal(from_arrays(colour.transpose(0, 3, 1, 2), y).x, colour.transpose(0, 3, 1, 2))
    assert from_arrays(colour.astype(np.int64), y).x.dtype == np.uint8
    np.testing.assert_allclose(from_arrays(grey, y).inputs()[:, 0], (grey / 255 - 0.5) / 0.25, atol=1e-6)
    assert from_arrays(grey, y, scale=0.5, shift=-60.0).inputs().max() == grey.max() / 2 - 60
    floats = from_arrays((grey / 255).astype(np.float64), y)
    assert (floats.x.dtype, floats.scale, floats.shift) == (np.float32, 1.0, 0.0)
    ambiguous = from_arrays(np.zeros((4, 3, 5, 3), np.uint8) + np.uint8(9), y)
    assert ambiguous.shape == (3, 5, 3)


@pytest.mark.parametrize("dtype", [bool, np.int64, np.float64, np.uint8])
def test_zeros_and_ones_are_kept_as_bytes(dtype: type) -> None:
    bits = RNG.integers(0, 2, (100, 5))
    records = from_arrays(bits.astype(dtype), np.arange(100) % 2, standardise=True)
    assert (records.x.dtype, records.scale, records.shift) == (np.uint8, 1.0, 0.0)
    np.testing.assert_array_equal(records.inputs(), bits)
    late = bits.copy()
    late[99, 4] = 2  # beyond the first records, which settle it in most cases
    assert from_arrays(late.astype(dtype), np.arange(100) % 2).inputs()[99, 4] == (1 if dtype is bool else 2)


def test_standardising_is_asked_for() -> None:
    x = np.column_stack([np.linspace(1e4, 1.1e4, 12), np.full(12, 7.0), np.arange(12) % 2, 1e9 + np.arange(12)])
    with pytest.warns(UserWarning, match="pass standardise=True"):
        plain = from_arrays(x, Y)
    np.testing.assert_array_equal(plain.x, x.astype(np.float32))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        from_arrays(x, Y, standardise=False)
        scaled = from_arrays(x, Y, standardise=True).x
    np.testing.assert_array_equal(scaled[:, 1], 0)
    np.testing.assert_array_equal(scaled[:, 2], np.arange(12) % 2)
    for column in (0, 3):  # the last one is what float32 could not resolve before centring
        np.testing.assert_allclose(scaled[:, column], (np.arange(12) - 5.5) / np.arange(12).std(), rtol=1e-5)
    with pytest.raises(ValueError, match="standardise=True is for tables"):
        from_arrays(np.zeros((4, 2, 2)), [0, 1, 0, 1], standardise=True)


@settings(max_examples=60, deadline=None, derandomize=True)
@given(st.lists(st.integers(0, 50), min_size=2, max_size=20).filter(lambda labels: len(set(labels)) > 1))
def test_renumbered_labels_keep_their_order_and_names(labels: list[int]) -> None:
    x = np.zeros((len(labels), 1))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        records = from_arrays(x, labels)
    assert sorted(set(records.y.tolist())) == list(range(records.classes))
    if records.class_names is None:
        assert records.y.tolist() == labels
    else:
        assert [int(records.class_names[each]) for each in records.y] == labels
    indices = from_arrays(x, labels, classes=51)
    assert (indices.y.tolist(), indices.classes) == (labels, 51)


def test_labels_from_one_are_shifted_with_a_remark() -> None:
    with pytest.warns(UserWarning, match=r"3 distinct labels from 1 to 3; they were renumbered 0 … 2.*pass classes="):
        records = from_arrays(X, Y + 1)
    assert (records.y.tolist(), records.class_names) == (Y.tolist(), ("1", "2", "3"))


def test_text_and_one_hot_labels() -> None:
    words = np.array(["no", "yes", "maybe"])
    text = from_arrays(X, words[Y])
    assert text.class_names == ("maybe", "no", "yes")
    assert [text.class_names[each] for each in text.y] == words[Y].tolist()
    ordered = from_arrays(X, words[Y].astype(object), class_names=("no", "yes", "maybe", "never"))
    assert (ordered.y.tolist(), ordered.classes) == (Y.tolist(), 4)
    assert from_arrays(X, np.eye(3)[Y]).y.tolist() == Y.tolist()
    assert from_arrays(X, Y[:, None]).y.tolist() == Y.tolist()
    assert from_arrays(X, Y > 0).classes == 2


@pytest.mark.parametrize(
    ("x", "y", "options", "complaint"),
    [
        (X, Y[:-1], {}, "x has 12 records and y 11 labels"),
        (X, Y * 0, {}, r"one class only \('0'\)"),
        (X, Y - 1, {}, "y holds -1 in record 0"),
        (X, Y + 0.5, {}, "y holds 0.5 in record 0"),
        (X, Y * np.nan, {}, "y holds nan in record 0"),
        (X, Y, {"classes": 2}, "y holds 2 in record 2 .*classes=2"),
        (X, Y, {"classes": 4, "class_names": ["a", "b", "c"]}, "3 names for classes=4"),
        (X, Y, {"class_names": ["a", "b", "b"]}, "repeats a name"),
        (X, ["a", "b", "c"] * 4, {"class_names": ["a", "b"]}, "holds c, not among class_names a, b"),
        (X, ["a", "b", ""] * 4, {}, r"y is empty in 4 records \(first: 2"),
        (X, [0, None, 1] * 4, {}, "y holds objects.*NoneType"),
        (X, np.eye(3)[Y] * 2, {}, "record 0 is not one-hot"),
        (X, np.zeros((12, 2, 2)), {}, "y has shape"),
        (X, [], {}, "y is empty"),
        (X, np.zeros(12, complex), {}, "dtype complex128"),
        (X, np.ma.masked_equal(Y, 2), {}, "y is a masked array"),
        (np.ma.masked_less(X, 0), Y, {}, "x is a masked array"),
        (X.astype(object), Y, {}, "x has dtype object"),
        (X.astype(str), Y, {}, "x has dtype <U"),
        ([[1.0], [1.0, 2.0]], [0, 1], {}, "x is ragged"),
        (X[:, 0], Y, {}, r"x has shape \(12,\)"),
        (X[:, :0], Y, {}, r"x has shape \(12, 0\)"),
        (X[:1], [0], {"classes": 2}, "x has 1 record"),
        (np.where(X[3, 1] == X, np.nan, X), Y, {}, "x holds nan in record 3, feature 1"),
        (np.where(X[3, 1] == X, -np.inf, X), Y, {}, "x holds -inf in record 3, feature 1"),
        (np.where(X[3, 1] == X, 1e300, X.astype(float)), Y, {}, r"x holds 1e\+300 in record 3"),
        (X, Y, {"scale": 0.0}, "scale=0.0"),
        (X, Y, {"shift": np.inf}, "shift=inf"),
    ],
)
def test_arrays_that_are_refused(x: object, y: object, options: dict[str, object], complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        from_arrays(x, y, **options)


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"x": np.full((12, 1), np.nan)}, "nan in record 0"),
        ({"x": np.full((12, 1), 1e300)}, r"1e\+300 in record 0"),
        ({"x": np.zeros((12, 0))}, "at least one record and one feature"),
        ({"x": np.zeros((12, 1), complex)}, "dtype complex128"),
        ({"y": np.full(12, np.inf)}, "not whole numbers"),
        ({"y": Y + 0.5}, "not whole numbers"),
        ({"y": Y[:3]}, "one label per record"),
        ({"y": Y - 1}, r"labels -1 … 1"),
        ({"classes": 2}, "labels 0 … 2"),
        ({"classes": 1}, "at least 2"),
        ({"class_names": ("a",)}, "class_names has 1 names, classes=3"),
        ({"scale": 0.0}, "scale=0.0"),
        ({"shift": float("nan")}, "shift=nan"),
    ],
)
def test_records_check_themselves(changes: dict[str, object], complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        Records(**({"x": X, "y": Y, "classes": 3} | changes))


def test_fingerprints_tell_apart_what_models_see() -> None:
    records = Records(X, Y, classes=3, name="one")
    assert Records(X.copy(), Y.astype(np.int8), classes=3, name="two").fingerprint == records.fingerprint
    others = [
        Records(X + 1, Y, classes=3),
        Records(X.astype(np.float64), Y, classes=3),
        Records(X, Y[::-1], classes=3),
        Records(X, Y, classes=4),
        Records(X, Y, classes=3, scale=2.0),
        Records(X.reshape(12, 1, 3), Y, classes=3),
    ]
    assert len({each.fingerprint for each in [records, *others]}) == 7


# --------------------------------------------------------------------------------------- other libraries' data sets


class Pairs(list[object]):
    """torchvision's kind of data set."""


def test_pairs_with_names_of_classes() -> None:
    images = RNG.integers(0, 256, (6, 4, 5, 3), dtype=np.uint8)
    pairs = Pairs((image, np.int64(at % 2)) for at, image in enumerate(images))
    pairs.classes = ["cat", "dog", "cow"]
    records = from_dataset(pairs, name="pets")
    np.testing.assert_array_equal(records.x, images.transpose(0, 3, 1, 2))
    assert (records.y.tolist(), records.class_names, records.name) == ([0, 1] * 3, ("cat", "dog", "cow"), "pets")


def test_pictures_of_pillow() -> None:
    image = pytest.importorskip("PIL.Image")
    pixels = RNG.integers(0, 256, (4, 6, 5, 3), dtype=np.uint8)
    records = from_dataset([(image.fromarray(each), at % 2) for at, each in enumerate(pixels)])
    np.testing.assert_array_equal(records.x, pixels.transpose(0, 3, 1, 2))


def test_torch_data_sets() -> None:
    torch = pytest.importorskip("torch")
    x, y = torch.rand(6, 1, 4, 4), torch.arange(6) % 3
    records = from_dataset(torch.utils.data.TensorDataset(x, y))
    np.testing.assert_array_equal(records.x, x.numpy())
    np.testing.assert_array_equal(records.y, y.numpy())


class Columns:
    """Hugging Face's kind of data set."""

    def __init__(self, columns: dict[str, list[object]], features: dict[str, object] | None = None) -> None:
        self.columns, self.features, self.column_names = columns, features or {}, list(columns)

    def __len__(self) -> int:
        return len(next(iter(self.columns.values())))

    def __getitem__(self, key: object) -> object:
        return self.columns[key] if isinstance(key, str) else {name: each[key] for name, each in self.columns.items()}


def test_columns_of_images() -> None:
    images = list(RNG.integers(0, 256, (6, 4, 4), dtype=np.uint8))
    features = {"label": SimpleNamespace(names=["cat", "dog"])}
    records = from_dataset(Columns({"img": images, "label": [0, 1] * 3}, features))
    np.testing.assert_array_equal(records.x[:, 0], images)
    assert records.class_names == ("cat", "dog")


def test_columns_of_a_table() -> None:
    columns = {"age": [1.5, 2.5, 3.5], "colour": ["red", "blue", "red"], "kind": ["u", "v", "u"]}
    expected = [[1.5, 0, 1], [2.5, 1, 0], [3.5, 0, 1]]
    assert from_dataset(Columns(columns), label="kind").x.tolist() == expected
    rows = [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]
    assert from_dataset(rows, label="kind").x.tolist() == expected
    assert from_dataset(rows, x=["age"], label="kind").x.tolist() == [[1.5], [2.5], [3.5]]


def test_data_sets_that_are_refused() -> None:
    image = np.zeros((2, 2))

    class Random(Pairs):
        def __getitem__(self, at: object) -> object:
            return RNG.normal(size=3), 0

    for dataset, options, error, complaint in [
        (Columns({"a": [1], "b": [2]}), {}, ValueError, "no column label or labels or y or target or class"),
        (Columns({"a": [1], "b": [2]}), {"label": "c"}, ValueError, "label='c' is no column of dataset.*a, b"),
        (Columns({"a": [1], "y": [2]}), {"x": "c"}, ValueError, "x='c' is no column"),
        (SimpleNamespace(column_names={"train": ["a"]}, __len__=None), {}, TypeError, "without length"),
        ({"train": [1], "test": [2]}, {}, TypeError, "dictionary of train, test; give one"),
        (iter([1]), {}, TypeError, "without length"),
        ([], {}, ValueError, "dataset is empty"),
        ([1, 2], {}, ValueError, r"dataset\[0\] is int, not a pair"),
        ([(image, 0), (np.zeros((3, 2)), 1)], {}, ValueError, r"dataset\[1\] has shape \(3, 2\)"),
        ([(image, [0, 1])], {}, ValueError, "one class a record"),
        ([(image, 0)], {"label": "y"}, ValueError, "name columns"),
        (Random([1, 2]), {}, ValueError, "without random transforms"),
    ]:
        with pytest.raises(error, match=complaint):
            from_dataset(dataset, **options)
