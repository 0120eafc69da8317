"""Every data type in figures, for `kbit ls formats`."""

from functools import lru_cache
from typing import Any

from kbit.formats.datatypes import ALIASES, DATATYPES
from kbit.formats.gaussian import distance_bits, gaussian_mse, shannon_mse
from kbit.formats.size import stored_size
from kbit.formats.weight_format import WeightFormat

# A shape without padding and without short blocks: the rate the format tends to.
_SHAPE = (64, 4096)


@lru_cache(maxsize=1)
def _rows() -> tuple[dict[str, Any], ...]:
    aliases = {row: alias for alias, row in ALIASES.items()}
    rows = []
    for datatype in DATATYPES.values():
        fmt = WeightFormat(datatype=datatype)
        rate = stored_size(fmt, _SHAPE).bits_per_weight
        if rate is None:
            continue
        mse = gaussian_mse(fmt)
        rows.append(
            {
                "name": datatype.name,
                "alias": aliases.get(datatype.name),
                "example": str(fmt),
                "family": datatype.family,
                "bits": datatype.bits,
                "bits_per_weight": rate,
                "gaussian_mse": mse,
                "shannon_mse": shannon_mse(rate),
                "distance_bits": distance_bits(mse, rate),
                "stored_table": datatype.stored_table,
                "source": datatype.source,
            }
        )
    return tuple(rows)


def listing() -> list[dict[str, Any]]:
    """One row for each data type, at blocks of 64 with fp16 scales.

    Returns:
        Dicts with `name`, `alias`, `example` (a format), `family`, `bits`, `bits_per_weight` (scales
        counted), `gaussian_mse` (of unit-Gaussian weights), `shannon_mse` (2^(-2R) at that rate),
        `distance_bits` (how far behind the limit), `stored_table` (made from data, stored and counted) and
        `source`.
    """
    return [dict(row) for row in _rows()]
