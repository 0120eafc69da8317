"""Methods of choosing codes: one row each."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from torch import Tensor

from kbit.errors import UsageError, did_you_mean
from kbit.formats import PackedTensor, WeightFormat, encode


@dataclass(frozen=True, kw_only=True, slots=True)
class QuantizationMethod:
    """How codes are chosen.

    Attributes:
        name: as `--method` takes it.
        version: raised by a change that can alter codes; it is part of a measurement's identity.
        what: one line for people.
        source: where it is defined.
        encode: weight [rows, columns] and format to codes.
    """

    name: str
    version: int
    what: str
    source: str
    encode: Callable[[Tensor, WeightFormat], PackedTensor]


METHODS: Mapping[str, QuantizationMethod] = MappingProxyType(
    {
        row.name: row
        for row in (
            QuantizationMethod(
                name="nearest",
                version=1,
                what="each weight takes the nearest entry; no calibration text",
                source="Dettmers & Zettlemoyer 2022, arXiv 2212.09720, eq. 1",
                encode=encode,
            ),
        )
    }
)


def method_named(name: str) -> QuantizationMethod:
    """The method of that name.

    Raises:
        UsageError: there is none.
    """
    if name not in METHODS:
        raise UsageError(f"there is no method {name!r}: {did_you_mean(name, METHODS)}")
    return METHODS[name]


def listing() -> list[dict[str, Any]]:
    """Rows of `kbit ls methods`."""
    return [
        {"name": m.name, "what": m.what, "version": m.version, "source": m.source} for m in METHODS.values()
    ]
