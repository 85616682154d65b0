"""A batch's inputs in one Triton kernel: records are read as they are stored, and written once as models take them."""

from __future__ import annotations

from typing import Any

import torch
import triton
import triton.language as tl

_ROWS, _COLUMNS = 16, 128


def taken(
    rows: Any, which: Any, *, features: int, bits: bool, scale: float, shift: float, dtype: torch.dtype
) -> Any:  # fmt: skip
    """scale · x + shift for the records ``which`` [batch], of ``dtype`` [batch, features].

    ``rows`` [records, ...] holds x as uint8, float32 or, if ``bits``, eight to a byte, the first in the highest.
    """
    x = torch.empty(len(which), features, dtype=dtype, device=rows.device)
    with torch.cuda.device_of(rows):
        _take[(triton.cdiv(len(which), _ROWS), triton.cdiv(features, _COLUMNS))](
            rows, which, x, len(which), rows.shape[1], scale, shift, features=features, bits=bits,
            scaled=(scale, shift) != (1.0, 0.0), rows=_ROWS, columns=_COLUMNS,
        )  # fmt: skip
    return x


@triton.jit  # type: ignore[untyped-decorator]
def _take(  # type: ignore[no-untyped-def]
    stored, which, x, batch, width, scale, shift,
    features: tl.constexpr, bits: tl.constexpr, scaled: tl.constexpr, rows: tl.constexpr, columns: tl.constexpr,
):  # fmt: skip
    row = (tl.program_id(0) * rows + tl.arange(0, rows))[:, None]
    column = (tl.program_id(1) * columns + tl.arange(0, columns))[None, :]
    inside = (row < batch) & (column < features)
    start = stored + tl.load(which + row, row < batch) * width
    if bits:
        value = (tl.load(start + column // 8, inside) >> (7 - column % 8)) & 1
    else:
        value = tl.load(start + column, inside)
    value = value.to(tl.float32)
    if scaled:
        value = shift + scale * value
    tl.store(x + row.to(tl.int64) * features + column, value.to(x.dtype.element_ty), inside)
