"""Records from .npz, CSV and Parquet: what is kept, what is refused, and no damage goes unnoticed."""

from __future__ import annotations

import pickle
import re
import struct
import subprocess
import sys
import warnings
import zipfile
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings, strategies as st

import miafast as mf
from miafast.tables import Records
from tests.small_files import CSV, X, Y, as_csv, as_gzipped_csv, as_parquet, whole_files

pytest.importorskip("pyarrow", reason="CSV and Parquet need pyarrow")


def test_npz_keeps_what_was_saved(tmp_path: Path) -> None:
    np.savez_compressed(tmp_path / "a.npz", x=np.asfortranarray(X), y=Y.astype(np.uint8))
    records = mf.load(tmp_path / "a.npz")
    np.testing.assert_array_equal(records.x, X)
    np.testing.assert_array_equal(records.y, Y)
    assert records.name == "a.npz"
    assert mf.load("a.npz", data_dir=tmp_path).fingerprint == records.fingerprint


def test_npz_with_parts(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", x_train=X[:8], y_train=Y[:8], x_test=X[8:], y_test=Y[8:])
    np.testing.assert_array_equal(mf.load(tmp_path / "a.npz").x, X)
    np.testing.assert_array_equal(mf.load(tmp_path / "a.npz", part="test").x, X[8:])


def test_npz_with_other_keys_names_them(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", inputs=X, y=Y)
    with pytest.raises(ValueError, match="holds the keys inputs, y; it needs x and y"):
        mf.load(tmp_path / "a.npz")


def test_npz_never_unpickles(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", x=X.astype(object), y=Y)
    with pytest.raises(ValueError, match=r"Python objects in x\.npy; reading them would run code"):
        mf.load(tmp_path / "a.npz")


def test_npz_with_a_key_twice(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", x=X, y=Y)
    with warnings.catch_warnings(), zipfile.ZipFile(tmp_path / "a.npz", "a") as archive:
        warnings.simplefilter("ignore")
        archive.writestr("x.npy", b"another")
    with pytest.raises(ValueError, match="the key 'x' is there twice"):
        mf.load(tmp_path / "a.npz")


@pytest.mark.parametrize("shape", ["(10000000000000,)", "(-1,)", "(1,)"])
def test_npz_headers_that_lie_allocate_nothing(tmp_path: Path, shape: str) -> None:
    header = f"{{'descr': '<f8', 'fortran_order': False, 'shape': {shape}, }}".ljust(117) + "\n"
    npy = b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header.encode() + bytes(16)
    with zipfile.ZipFile(tmp_path / "a.npz", "w") as archive:
        archive.writestr("x.npy", npy)
    with pytest.raises(ValueError, match="but holds 16 bytes"):
        mf.load(tmp_path / "a.npz")


def test_foreign_bytes_in_npz(tmp_path: Path) -> None:
    for content in (b"\x89PNG\r\n\x1a\n" + bytes(100), b"", b"x,y\n1,2\n", pickle.dumps([1])):
        (tmp_path / "a.npz").write_bytes(content)
        with pytest.raises(ValueError, match=r"a\.npz cannot be read as \.npz"):
            mf.load(tmp_path / "a.npz")
    with zipfile.ZipFile(tmp_path / "a.npz", "w") as archive:
        archive.writestr("x.png", b"\x89PNG\r\n")
    with pytest.raises(ValueError, match=r"x\.png is no \.npy array"):
        mf.load(tmp_path / "a.npz")


@pytest.mark.parametrize("write", [as_csv, as_gzipped_csv, as_parquet])
def test_tables_one_hot_text_and_number_classes(tmp_path: Path, write: Callable[[Path, str], Path]) -> None:
    records = mf.load(write(tmp_path, CSV), label="kind")
    assert (records.classes, records.class_names) == (2, ("cat", "dog"))
    rows = np.arange(12)
    np.testing.assert_array_equal(records.y, rows % 4 == 0)
    np.testing.assert_array_equal(records.x[:, 0], 20 + rows)
    np.testing.assert_array_equal(records.x[:, 1:4], np.eye(3)[[2, 1, 0]][rows % 3])  # blue, green, red
    np.testing.assert_array_equal(records.x[:, 4], rows % 2)
    scaled = mf.load(tmp_path / write(tmp_path, CSV).name, label="kind", standardise=True)
    assert abs(float(scaled.x[:, 0].mean())) < 1e-6
    np.testing.assert_array_equal(scaled.x[:, 1:], records.x[:, 1:])


def test_csv_types_hold_for_the_whole_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from miafast.data import arrow

    monkeypatch.setattr(arrow, "BLOCK", 64)
    body = "".join(f"{row},{row},{row % 2}\n" for row in range(50)) + "0.5,1,1\n"
    records = mf.load(as_csv(tmp_path, "a,b,label\n" + body), standardise=False)
    assert records.x[50].tolist() == [0.5, 1.0]


@pytest.mark.parametrize(
    ("content", "label", "complaint"),
    [
        ("", "kind", "cannot be read as CSV: it is empty"),
        ("\n\n", "kind", "cannot be read as CSV"),
        ("a,kind\n", "kind", "a header and no rows"),
        ("a,kind\n1,x\n", "kind", "x has 1 record"),
        (CSV, None, "has no column 'label'; its columns are 'age', 'colour', 'paid', 'kind'"),
        (CSV, "Kind", "label='Kind' is no column of .*did you mean 'kind'"),
        ("a,a,kind\n1,2,x\n", "kind", "the column 'a' twice"),
        (",a,kind\n0,2,x\n1,3,y\n", "kind", "row index in column 1"),
        ("a,b,kind\n1,2,x\n1,,y\n", "kind", "column 'b' of .* has no value in row 1"),
        ("a,b,kind\n1,2,x\n1,?,y\n", "kind", "column 'b' of .* has no value in row 1"),
        ("a,b,kind\n1,2,x\n1,4,\n", "kind", "column 'kind' of .* has no value in row 1"),
        ("a,b,kind\n1,2,x\n1,inf,y\n", "kind", "column 'b' of .* holds inf in row 1"),
        ("a,b,kind\n1,2,x\n1,y\n", "kind", "Expected 3 columns, got 2"),
        ("a,b,kind\n1,2020-01-02,x\n1,2020-01-03,y\n", "kind", "column 'b' of .* holds date32"),
        ("kind\nx\ny\n", "kind", "the label column 'kind' only"),
        ("a,kind\n" + "".join(f"n{row},{row % 2}\n" for row in range(1001)), "kind", "1,001 distinct texts"),
        ("a,kind\n1,0.5\n2,1\n", "kind", "y holds 0.5 in record 0"),
        ("a,kind\n1,-1\n2,1\n", "kind", "y holds -1 in record 0.*write 0/1 for -1/\\+1"),
        ("a,kind\n" + "".join(f"1,{row}\n" for row in range(30)), "kind", "a label of its own in each"),
    ],
)
def test_tables_that_are_refused(tmp_path: Path, content: str, label: str | None, complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        mf.load(as_csv(tmp_path, content), label=label)


def test_one_slip_in_a_column_of_numbers_is_told(tmp_path: Path) -> None:
    rows = [f"{row / 8},{row % 2}\n" for row in range(30)]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert mf.load(as_csv(tmp_path, "a,label\n" + "".join(rows))).shape == (1,)
    with pytest.warns(UserWarning, match=r"column 'a' of .* one-hot in 31 columns, because of 'l2.5' in row 3 "):
        mf.load(as_csv(tmp_path, "a,label\n" + "".join([*rows[:3], "l2.5,1\n", *rows[3:]])))


def test_text_that_is_not_utf_8_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_bytes("a,label\nä,0\nb,1\n".encode("latin-1"))
    with pytest.raises(ValueError, match=r"column 'a' of .* is not UTF-8 text"):
        mf.load(tmp_path / "a.csv")


def test_foreign_bytes_in_tables(tmp_path: Path) -> None:
    for name in ("a.csv", "a.parquet", "a.csv.gz"):
        (tmp_path / name).write_bytes(b"\x89PNG\r\n\x1a\n\0\0\xff\xfe" + bytes(range(256)))
        with pytest.raises(ValueError, match=r"a\.(csv|parquet)|label"):
            mf.load(tmp_path / name)


def test_parquet_kinds_of_columns(tmp_path: Path) -> None:
    import pyarrow as pa
    from pyarrow import parquet

    def load(**columns: pa.Array) -> Records:
        parquet.write_table(pa.table({**columns, "label": [0, 1, 1]}), tmp_path / "a.parquet")
        return mf.load(tmp_path / "a.parquet")

    assert load(a=pa.array(["u", "v", "u"]).dictionary_encode(), b=pa.array([True, False, True])).x.tolist() == [
        [1, 0, 1],
        [0, 1, 0],
        [1, 0, 1],
    ]
    assert load(a=pa.array([Decimal("1.50"), Decimal(2), Decimal(3)])).x.tolist() == [[1.5], [2], [3]]
    with pytest.raises(ValueError, match=r"column 'a' of .* holds list"):
        load(a=pa.array([[1.0], [2.0], [3.0]]))
    with pytest.raises(ValueError, match=r"column 'a' of .* holds nan in row 2"):
        load(a=pa.array([1.0, 2.0, float("nan")]))
    with pytest.raises(ValueError, match="row index in column 1"):
        load(__index_level_0__=pa.array([0, 1, 2]))


DAMAGED = ["a.npz", "a.csv.gz", "a.parquet", "dataset_location.tgz", "t10k-images-idx3-ubyte.gz"]
MANY = settings(
    max_examples=40, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("name", DAMAGED)
@MANY
@given(share=st.floats(0, 1, exclude_max=True))
def test_a_file_cut_off_anywhere_is_refused(tmp_path: Path, name: str, share: float) -> None:
    load = whole_files(tmp_path)[name]
    load()
    whole = (tmp_path / name).read_bytes()
    (tmp_path / name).write_bytes(whole[: int(share * (len(whole) - 8))])  # gzip's check sum is the last 8 bytes
    with pytest.raises(ValueError, match=re.escape(name)):
        load()


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("name", DAMAGED)
@MANY
@given(share=st.floats(0, 1, exclude_max=True), flip=st.integers(1, 255))
def test_a_flipped_byte_is_refused_or_harmless(tmp_path: Path, name: str, share: float, flip: int) -> None:
    load = whole_files(tmp_path)[name]
    before = load()
    content = bytearray((tmp_path / name).read_bytes())
    content[int(share * len(content))] ^= flip
    (tmp_path / name).write_bytes(content)
    try:
        after = load()
    except ValueError:
        return
    if not name.endswith(".parquet"):  # which has no check sum unless its writer asks for one
        assert after.fingerprint == before.fingerprint


def test_loading_arrays_pulls_in_no_other_library(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", x=X, y=Y)
    heavy = "{'torch', 'pandas', 'pyarrow', 'sklearn', 'scipy', 'imagecodecs'}"
    program = f"import sys, miafast as mf; mf.load({str(tmp_path / 'a.npz')!r}); print({heavy} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


@pytest.mark.parametrize(("missing", "name"), [("pyarrow", "a.csv"), ("pyarrow", "a.parquet")])
def test_a_missing_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, missing: str, name: str) -> None:
    monkeypatch.setitem(sys.modules, missing, None)
    (tmp_path / name).write_bytes(b"a,label")
    with pytest.raises(ImportError, match=r"pip install 'miafast\[data\]'"):
        mf.load(tmp_path / name)
