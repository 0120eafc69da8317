"""What is stored of one tensor, and how its codes were chosen: a row of a k-bit folder's config."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from kbit.formats import WeightFormat

Role = Literal["linear", "embedding", "head"]
TableScope = Literal["format", "tensor", "model"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Method:
    """How codes were chosen: a format is not a method, and a k-bit layer has both.

    Attributes:
        name: `nearest`, `gptq`, …
        version: of the algorithm; a change that can alter codes raises it.
        seed: of its random choices, or None where it makes none.
        calibration: content hash of the calibration text, or None where it reads none.
        options: what else changes the codes, as JSON values.
    """

    name: str
    version: int
    seed: int | None = None
    calibration: str | None = None
    options: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True, slots=True)
class Rotation:
    """The inputs of a layer were rotated before its weights were coded.

    Attributes:
        kind: the family of rotations, such as `hadamard`.
        seed: what the signs follow from, or None where they are stored in `<layer>.signs`.
    """

    kind: str
    seed: int | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class LayerRecord:
    """What is stored of one weight.

    Attributes:
        name: the module that holds it, such as `model.layers.0.mlp.down_proj`.
        shape: [rows (outputs), columns (inputs)] of the weight as it is coded.
        role: `linear`, `embedding` or `head` (output layer).
        format: data type, bits, block and scale type.
        method: how the codes were chosen.
        transposed: the architecture keeps the weight as [in, out] (GPT-2's `Conv1D`).
        scale_levels: 1, or 2 where the scales are coded too.
        rotation: of the inputs, or None.
        kept_inputs: how many input dimensions are kept in 16 bits beside the codes.
        activation_order: columns were coded in an order of their own, stored in `<layer>.order`.
        table_scope: where the table lies: part of the `format`'s definition (nothing stored), one of
            each `tensor`, or one of the `model`.
    """

    name: str
    shape: tuple[int, int]
    role: Role
    format: WeightFormat
    method: Method
    transposed: bool = False
    scale_levels: int = 1
    rotation: Rotation | None = None
    kept_inputs: int = 0
    activation_order: bool = False
    table_scope: TableScope = "format"

    @property
    def weights(self) -> int:
        """How many weights the record stands for."""
        return self.shape[0] * self.shape[1]
