"""What is stored of one tensor, and how its codes were chosen: a row of a k-bit folder's config."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from kbit.formats import WeightFormat

Role = Literal["linear", "embedding", "head"]
KeptType = Literal["bf16", "fp16"]


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
    """The inputs of a layer are rotated before they meet the codes.

    Attributes:
        kind: `hadamard` (see `kbit.formats.rotation`); its signs are stored in `<layer>.signs`.
    """

    kind: Literal["hadamard"] = "hadamard"


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
        rotation: of the inputs, or None.
        kept_inputs: how many input dimensions are kept in 16 bits beside the codes; their numbers are
            stored in `<layer>.kept_columns`, their weights in `<layer>.kept_weights`.
        kept_type: of those weights.
        activation_order: columns were coded in an order of their own, stored in `<layer>.order`.
        table_of: the layer whose table this one uses; None where it stores its own or needs none.

    The input x of a layer that uses these goes through them in this order: the kept dimensions are taken
    out, the rest is rotated, then reordered (place i takes dimension order[i]), then meets the codes.
    """

    name: str
    shape: tuple[int, int]
    role: Role
    format: WeightFormat
    method: Method
    transposed: bool = False
    rotation: Rotation | None = None
    kept_inputs: int = 0
    kept_type: KeptType = "bf16"
    activation_order: bool = False
    table_of: str | None = None

    @property
    def weights(self) -> int:
        """How many weights the record stands for."""
        return self.shape[0] * self.shape[1]

    @property
    def packed_shape(self) -> tuple[int, int]:
        """[rows, columns] of what is packed: the weight without the inputs kept in 16 bits."""
        return self.shape[0], self.shape[1] - self.kept_inputs

    @property
    def transforms_inputs(self) -> bool:
        """Whether the input meets the codes as it is, or is taken apart, rotated or reordered first."""
        return self.rotation is not None or self.kept_inputs > 0 or self.activation_order
