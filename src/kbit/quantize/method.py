"""Methods of choosing codes: one row each."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from torch import Tensor

from kbit.errors import UsageError, did_you_mean
from kbit.formats import PackedTensor, WeightFormat, encode
from kbit.quantize.codes.choose import Recipe


@dataclass(frozen=True, kw_only=True, slots=True)
class QuantizationMethod:
    """How codes are chosen.

    Attributes:
        name: as `--method` takes it.
        version: raised by a change that can alter codes; it is part of a measurement's identity.
        what: one line for people.
        source: where it is defined.
        encode: weight [rows, columns] and format to codes; for a calibrated method, what layers get that
            calibration does not reach.
        recipe: the steps of a calibrated method; None for a method that reads no text.
    """

    name: str
    version: int
    what: str
    source: str
    encode: Callable[[Tensor, WeightFormat], PackedTensor]
    recipe: Recipe | None = None

    @property
    def is_calibrated(self) -> bool:
        """Whether it needs a text."""
        return self.recipe is not None


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
            QuantizationMethod(
                name="importance",
                version=1,
                what="nearest entry; scales of least squared error weighted by the inputs' mean squares",
                source="diagonal of the Hessian, as in llama.cpp's importance matrices",
                encode=encode,
                recipe=Recipe(search=True, feedback=False),
            ),
            QuantizationMethod(
                name="gptq",
                version=1,
                what="column by column, each error made good by later columns; costliest columns first",
                source="Frantar et al. 2023, arXiv 2210.17323, algorithm 1",
                encode=encode,
                recipe=Recipe(search=False, feedback=True),
            ),
            QuantizationMethod(
                name="descent",
                version=1,
                what="GPTQ from searched scales, then codes and scales chosen again in turn; aims at the "
                "original model's outputs",
                source="coordinate descent: Behdin et al. 2023, arXiv 2309.01885; both streams of inputs: Li "
                "et al. 2025, arXiv 2504.02692",
                encode=encode,
                recipe=Recipe(search=True, feedback=True, rounds=2, follow=True),
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
        {
            "name": m.name,
            "what": m.what,
            "calibrated": m.is_calibrated,
            "version": m.version,
            "source": m.source,
        }
        for m in METHODS.values()
    ]
