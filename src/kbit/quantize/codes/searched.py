"""Codes without data: scales of least squared error, then the nearest entry."""

import torch
from torch import Tensor

from kbit.formats import PackedTensor, WeightFormat
from kbit.formats.densities import fit_table, scaled_density
from kbit.formats.encoding import encode, encode_scaled
from kbit.formats.scales import StoredScales, store_offsets, store_scales
from kbit.quantize.codes.scale_search import search_scales
from kbit.quantize.codes.trellis_search import fit_trellis_scales

SLICE_WEIGHTS = 1 << 20
# A learned table and the scales it is scaled by are fitted in turn, so often.
TABLE_ROUNDS = 2


def encode_searched(weight: Tensor, fmt: WeightFormat, table: Tensor | None = None) -> PackedTensor:
    """Store a matrix with scales (and offsets) of least squared error, as rounded to their type.

    Never worse than `encode` in squared error over the tensor. A learned table that is not given is fitted
    again to the searched scales.

    Args:
        weight: [rows, cols], any floating type, finite.
        fmt: a packed format.
        table: as for `kbit.formats.encode`.

    Raises:
        FormatError: the format cannot hold the weight.
    """
    best = encode(weight, fmt, table=table)
    if fmt.datatype.window is not None:
        return _fitted_trellis(weight.float(), best)
    least = _squared_error(weight, best)
    rounds = TABLE_ROUNDS if fmt.datatype.fit == "lloyd" and table is None else 1
    for _ in range(rounds):
        current = best.table if fmt.datatype.stored_table else None
        scales, offsets = _searched(weight, fmt, _entries(best))
        if rounds > 1:
            current = fit_table("lloyd", fmt.bits, scaled_density(weight, fmt, scales, offsets))
        found = encode_scaled(weight, fmt, scales, offsets, table=current)
        error = _squared_error(weight, found)
        if error >= least:
            break
        best, least = found, error
    return best


def _fitted_trellis(weight: Tensor, best: PackedTensor) -> PackedTensor:
    """Scales fitted to the codes, then codes chosen again."""
    fitted = fit_trellis_scales(weight, best, torch.ones(weight.shape[1]))
    held = StoredScales(stored=fitted.scales, second=fitted.second_scales)
    again = encode_scaled(weight, best.format, held)
    return min((best, fitted, again), key=lambda packed: _squared_error(weight, packed))


def _entries(packed: PackedTensor) -> Tensor:
    datatype = packed.format.datatype
    return packed.table_values() if datatype.stored_table else torch.tensor(datatype.entries())


def _searched(weight: Tensor, fmt: WeightFormat, entries: Tensor) -> tuple[StoredScales, StoredScales | None]:
    rows, cols = weight.shape
    importance = torch.ones(cols)
    # Blocks within rows are searched a slice of rows at a time.
    whole = fmt.block == "tensor" or fmt.flat
    step = max(1, rows) if whole else max(1, SLICE_WEIGHTS // max(1, cols))
    found = [
        search_scales(weight[i : i + step].float(), fmt, entries, importance)
        for i in range(0, max(1, rows), step)
    ]
    scales = store_scales(torch.cat([scale for scale, _ in found]), fmt)
    offsets = [offset for _, offset in found if offset is not None]
    return scales, store_offsets(torch.cat(offsets), fmt) if offsets else None


def _squared_error(weight: Tensor, packed: PackedTensor) -> float:
    from kbit.formats.decoding import decode

    rows, cols = weight.shape
    step, total = max(1, SLICE_WEIGHTS // max(1, cols)), 0.0
    for start in range(0, rows, step):
        part = weight[start : start + step].float()
        total += float(
            (decode(packed, rows=slice(start, start + step)) - part).square().sum(dtype=torch.float64)
        )
    return total
