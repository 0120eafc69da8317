"""Trellis-coded types: a weight's value follows from its own k bits and those of the rows above it.

A code is k bits like any other and lies where any other would. What differs is the table: it has 2^12
entries, and the index of a weight is made of the last 12 bits of codes of its column, its own code lowest;
above the first row stands the last one, so that a column's codes are a ring. Choosing the codes of a column
together (Viterbi's algorithm) leaves far less error than k bits a weight can by themselves: close to
Shannon's bound at few bits.

Source: Marcellin & Fischer 1990, IEEE Trans. Comm. 38:82 (trellis-coded quantisation); Tseng et al. 2024
(QTIP), arXiv 2406.11235, for the trellis whose states are the last bits of the stream. Here the trellis
runs down the columns, so that a column can be coded after what the columns before it left over.
"""

from functools import cache

import torch
from torch import Tensor

from kbit import _core
from kbit.errors import FormatError
from kbit.formats.packing import unpack_codes
from kbit.formats.scales import spread_scales
from kbit.formats.size import scale_shape
from kbit.formats.tables import WINDOW, trellis_entries
from kbit.formats.weight_format import WeightFormat

SPREAD = {1: 0.90, 2: 1.03, 3: 1.07, 4: 1.10, 5: 1.12, 6: 1.19, 7: 1.20, 8: 1.30}
"""Scale over the block's root mean square that leaves Gaussian weights the least error, by k."""

# Columns whose codes are chosen at once: working memory is about 25 bytes a weight of them.
_COLUMNS = 1 << 20


@cache
def _table() -> Tensor:
    with torch.inference_mode(mode=False):
        return torch.tensor(trellis_entries(), dtype=torch.float32)


def has_rows(rows: int, bits: int) -> bool:
    """Whether a column of so many rows is as long as a window (or empty)."""
    return rows * bits >= WINDOW or not rows


def check_rows(rows: int, bits: int, name: str) -> None:
    """Refuse a matrix whose columns are shorter than a window.

    Raises:
        FormatError: it has too few rows.
    """
    if not has_rows(rows, bits):
        raise FormatError(
            f"{name} needs {-(-WINDOW // bits)} rows or more, given {rows}: use another type for this tensor"
        )


def trellis_codes(values: Tensor, costs: Tensor, bits: int) -> Tensor:
    """Codes of least weighted squared error, each column by itself.

    Args:
        values: float32 [rows, cols], in units of the table.
        costs: float32 [rows, cols], what a squared error of each costs; not negative.
        bits: k.

    Returns:
        uint8 [rows, cols].
    """
    rows, cols = values.shape
    codes = torch.empty(rows, cols, dtype=torch.uint8, device=values.device)
    step = max(1, _COLUMNS // max(1, rows))
    for start in range(0, cols if rows else 0, step):
        part = slice(start, start + step)
        columns = values[:, part].T.float().cpu().contiguous()
        weights = costs[:, part].T.float().cpu()
        # In units of their mean, so that sums over long columns keep their digits.
        weights = (weights / weights.mean(dim=1, keepdim=True).clamp_min(1e-38)).contiguous()
        found = torch.empty(columns.shape, dtype=torch.uint8)
        _core.trellis_search(
            columns,
            weights,
            bits=bits,
            window=WINDOW,
            table=_table(),
            codes=found,
            threads=torch.get_num_threads(),
        )
        codes[:, part] = found.T.to(codes.device)
    return codes


def trellis_values(codes: Tensor, bits: int) -> Tensor:
    """The table's values at unpacked codes, float32 [rows, cols].

    Args:
        codes: uint8 [rows, cols], all rows of a matrix.
        bits: k.
    """
    index = codes.to(torch.int32)
    for above in range(1, -(-WINDOW // bits)):
        index |= codes.roll(above, dims=0).to(torch.int32) << (bits * above)
    return _table().to(codes.device)[index & ((1 << WINDOW) - 1)]


def trellis_rows(packed: Tensor, bits: int, cols: int, rows: Tensor, *, run: bool) -> Tensor:
    """The table's values of some rows of packed codes.

    Args:
        packed: uint8 [all rows, row_bytes].
        bits: k.
        cols: weights in a row.
        rows: int64 [n] row numbers.
        run: they follow one another.

    Returns:
        float32 [n, cols].
    """
    if packed.device.type == "cpu":
        out = torch.empty(len(rows), cols)
        _core.trellis_values(
            packed.detach(),
            bits=bits,
            window=WINDOW,
            table=_table(),
            first=int(rows[0]) if run and len(rows) else 0,
            numbers=None if run else rows,
            out=out,
            threads=torch.get_num_threads(),
        )
        return out
    index = torch.zeros(len(rows), cols, dtype=torch.int32, device=packed.device)
    for above in range(-(-WINDOW // bits)):
        codes = unpack_codes(packed[(rows - above) % len(packed)], bits, cols)
        index |= codes.to(torch.int32) << (bits * above)
    return _table().to(packed.device)[(index & ((1 << WINDOW) - 1)).long()]


def rms_scales(weight: Tensor, fmt: WeightFormat) -> Tensor:
    """The scale of each block that leaves Gaussian weights the least error, not yet rounded.

    Args:
        weight: [rows, cols].
        fmt: a trellis-coded format.

    Returns:
        float64, shaped as `scale_shape` says.
    """
    rows, cols = weight.shape
    shape = scale_shape(fmt, weight.shape)
    if rows * cols == 0:
        return torch.zeros(shape, dtype=torch.float64, device=weight.device)
    if fmt.block == "tensor" or fmt.flat:
        length = rows * cols if fmt.block == "tensor" else int(fmt.block)
        square = _mean_squares(weight.reshape(1, -1), length)
    else:
        length = cols if fmt.block == "row" else int(fmt.block)
        step = max(1, _COLUMNS // cols)
        square = torch.cat([_mean_squares(weight[i : i + step], length) for i in range(0, rows, step)])
    return (square.sqrt() * SPREAD[fmt.bits]).reshape(shape)


def _mean_squares(part: Tensor, length: int) -> Tensor:
    square = part.double().square()
    whole = part.shape[1] // length * length
    found = [square[:, :whole].reshape(part.shape[0], -1, length).mean(dim=2)]
    if whole < part.shape[1]:
        found.append(square[:, whole:].mean(dim=1, keepdim=True))
    return torch.cat(found, dim=1)


def encode_trellis(weight: Tensor, fmt: WeightFormat, scale_values: Tensor) -> Tensor:
    """Codes of least squared error under given scales, uint8 [rows, cols].

    Args:
        weight: float [rows, cols], finite.
        fmt: a trellis-coded format.
        scale_values: as stored, float32.
    """
    rows, cols = weight.shape
    check_rows(rows, fmt.bits, fmt.datatype.name)
    numbers = torch.arange(rows, device=weight.device)
    scale = spread_scales(scale_values, fmt, numbers, cols).expand(rows, cols)
    values = torch.where(scale > 0, weight.float() / scale, torch.zeros((), device=weight.device))
    return trellis_codes(values, scale.square(), fmt.bits)
