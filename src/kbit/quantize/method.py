"""Methods of choosing codes: one row each."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from torch import Tensor

from kbit.errors import UsageError, did_you_mean
from kbit.formats import PackedTensor, WeightFormat, encode
from kbit.quantize.codes.choose import Recipe
from kbit.quantize.codes.searched import encode_searched


@dataclass(frozen=True, kw_only=True, slots=True)
class QuantizationMethod:
    """How codes are chosen.

    Attributes:
        name: as `--method` takes it.
        version: raised by a change that can alter codes; it is part of a measurement's identity.
        what: one line for people.
        source: where it is defined.
        encode: weight [rows, columns], format and shared table (or None) to codes; for a calibrated method,
            what layers get that calibration does not reach.
        recipe: the steps of a calibrated method; None for a method that reads no text.
        rotates: inputs of linear layers are rotated first.
        kept_share: share of the input dimensions of linear layers that is kept in 16 bits.
    """

    name: str
    version: int
    what: str
    source: str
    encode: Callable[[Tensor, WeightFormat, Tensor | None], PackedTensor]
    recipe: Recipe | None = None
    rotates: bool = False
    kept_share: float = 0.0

    @property
    def is_calibrated(self) -> bool:
        """Whether it needs a text."""
        return self.recipe is not None


def _nearest(weight: Tensor, fmt: WeightFormat, table: Tensor | None) -> PackedTensor:
    return encode(weight, fmt, table=table)


_PAPER = "Dettmers & Zettlemoyer 2022, arXiv 2212.09720"
_ROTATION = "randomised Hadamard transform: Chee et al. 2023, arXiv 2307.13304; Tseng et al. 2024, 2402.04396"

METHODS: Mapping[str, QuantizationMethod] = MappingProxyType(
    {
        row.name: row
        for row in (
            QuantizationMethod(
                name="nearest",
                version=1,
                what="each weight takes the nearest entry; no calibration text",
                source=f"{_PAPER}, eq. 1",
                encode=_nearest,
            ),
            QuantizationMethod(
                name="scale-search",
                version=1,
                what="scales (and offsets) of least squared error for each block, then the nearest entry",
                source="a grid of shares of the range, then alternating least squares",
                encode=encode_searched,
            ),
            QuantizationMethod(
                name="rotate",
                version=1,
                what="inputs rotated by a randomised Hadamard transform, then the nearest entry",
                source=_ROTATION,
                encode=_nearest,
                rotates=True,
            ),
            QuantizationMethod(
                name="rotate-search",
                version=1,
                what="inputs rotated, then scale-search",
                source=_ROTATION,
                encode=encode_searched,
                rotates=True,
            ),
            *(
                QuantizationMethod(
                    name=f"proxy{percent}",
                    version=1,
                    what=f"{percent}% of the input dimensions in 16 bits, those of the largest standard "
                    "deviation in the previous layer's weights; the rest nearest",
                    source=f"{_PAPER}, section 3 (outlier-dependent quantization by proxy)",
                    encode=_nearest,
                    kept_share=percent / 100,
                )
                for percent in (1, 2, 5, 10)
            ),
            QuantizationMethod(
                name="importance",
                version=1,
                what="nearest entry; scales of least squared error weighted by the inputs' mean squares",
                source="diagonal of the Hessian, as in llama.cpp's importance matrices",
                encode=_nearest,
                recipe=Recipe(search=True, feedback=False),
            ),
            QuantizationMethod(
                name="gptq",
                version=1,
                what="column by column, each error made good by later columns; costliest columns first",
                source="Frantar et al. 2023, arXiv 2210.17323, algorithm 1",
                encode=_nearest,
                recipe=Recipe(search=False, feedback=True),
            ),
            QuantizationMethod(
                name="gptq-rotated",
                version=1,
                what="inputs rotated by a randomised Hadamard transform, then gptq",
                source="Frantar et al. 2023, arXiv 2210.17323; " + _ROTATION,
                encode=_nearest,
                recipe=Recipe(search=False, feedback=True),
                rotates=True,
            ),
            QuantizationMethod(
                name="descent-rotated",
                version=1,
                what="inputs rotated, then descent",
                source="Behdin et al. 2023, arXiv 2309.01885; " + _ROTATION,
                encode=_nearest,
                recipe=Recipe(search=True, feedback=True, rounds=2, follow=True),
                rotates=True,
            ),
            QuantizationMethod(
                name="descent",
                version=1,
                what="GPTQ from searched scales, then codes and scales chosen again in turn; aims at the "
                "original model's outputs",
                source="coordinate descent: Behdin et al. 2023, arXiv 2309.01885; both streams of inputs: Li "
                "et al. 2025, arXiv 2504.02692",
                encode=_nearest,
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
