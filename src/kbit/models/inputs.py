"""What happens to a layer's input before it meets the codes: dimensions kept aside, rotation, reordering.

All of it is linear and exact, so the dense weight a layer stands for exists too: `dense_weight`.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from kbit.errors import FormatError
from kbit.formats.rotation import rotate, rotate_back, unpack_signs
from kbit.models.record import LayerRecord
from kbit.models.stored_parts import part_specs


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class InputTransform:
    """The stored input parts of one layer, ready to compute with.

    Attributes:
        columns: input dimensions of the layer.
        kept: [p] dimensions kept in 16 bits, ascending, or None.
        kept_weights: [rows, p] of them, or None.
        coded: [columns - p] the other dimensions, ascending, or None where nothing is kept.
        signs: [columns - p] of +1 and -1, float32, or None without rotation.
        order: [columns - p]: coded column i is (rotated) dimension order[i]; or None.
    """

    columns: int
    kept: Tensor | None = None
    kept_weights: Tensor | None = None
    coded: Tensor | None = None
    signs: Tensor | None = None
    order: Tensor | None = None

    def apply(self, x: Tensor) -> Tensor:
        """Input [..., columns] to what the codes multiply, [..., columns - p]; differentiable.

        Applied to the rows of a weight it gives the weight to encode: the products are the same.
        """
        if self.coded is not None:
            x = x.index_select(-1, self.coded)
        if self.signs is not None:
            x = rotate(x, self.signs)
        return x if self.order is None else x.index_select(-1, self.order)

    def kept_product(self, x: Tensor) -> Tensor | None:
        """The part of the product that kept dimensions give, [..., rows] in x's type; None without any."""
        if self.kept is None or self.kept_weights is None:
            return None
        return functional.linear(x.index_select(-1, self.kept), self.kept_weights.to(x.dtype))

    def dense_weight(self, coded: Tensor) -> Tensor:
        """The weight [rows, columns] a layer stands for, from its decoded codes [rows, columns - p]."""
        weight = coded
        if self.order is not None:
            weight = torch.empty_like(coded).index_copy_(1, self.order, coded)
        if self.signs is not None:
            weight = rotate_back(weight, self.signs)
        if self.kept is None or self.coded is None or self.kept_weights is None:
            return weight
        whole = weight.new_empty(weight.shape[0], self.columns)
        whole.index_copy_(1, self.coded, weight)
        return whole.index_copy_(1, self.kept, self.kept_weights.to(whole.dtype))

    def parts(self, record: LayerRecord, packed_signs: Tensor | None = None) -> dict[str, Tensor]:
        """The tensors to store, in the types that the record's parts have.

        Args:
            record: which of them the layer stores.
            packed_signs: the signs as bits (see `kbit.formats.rotation.random_signs`).
        """
        given = {
            "signs": packed_signs,
            "order": self.order,
            "kept_columns": self.kept,
            "kept_weights": self.kept_weights,
        }
        specs = part_specs(record)
        return {part: t.to(specs[part].dtype) for part, t in given.items() if t is not None}


def read_transform(record: LayerRecord, parts: Mapping[str, Tensor]) -> InputTransform:
    """The transform that a record and its stored parts describe.

    Args:
        record: of the layer.
        parts: `signs`, `order`, `kept_columns` and `kept_weights` as stored, as far as it has them.

    Raises:
        FormatError: columns that are not each numbered once.
    """
    columns, coded_columns = record.shape[1], record.packed_shape[1]
    kept = coded = signs = order = None
    if record.kept_inputs:
        kept = _numbers(record, "kept_columns", parts, columns)
        is_coded = torch.ones(columns, dtype=torch.bool, device=kept.device)
        is_coded[kept] = False
        coded = is_coded.nonzero().reshape(-1)
        if len(coded) != coded_columns:
            raise FormatError(f"{record.name}: kept_columns names a column twice. Quantise the model again.")
    if record.rotation is not None:
        signs = unpack_signs(parts["signs"], coded_columns)
    if record.activation_order:
        order = _numbers(record, "order", parts, coded_columns)
        if len(torch.unique(order)) != coded_columns:
            raise FormatError(f"{record.name}: order names a column twice. Quantise the model again.")
    return InputTransform(
        columns=columns,
        kept=kept,
        kept_weights=parts.get("kept_weights"),
        coded=coded,
        signs=signs,
        order=order,
    )


def _numbers(record: LayerRecord, part: str, parts: Mapping[str, Tensor], count: int) -> Tensor:
    numbers = parts[part].to(torch.int64)
    if numbers.numel() and (int(numbers.min()) < 0 or int(numbers.max()) >= count):
        raise FormatError(f"{record.name}: {part} names a column beyond {count}. Quantise the model again.")
    return numbers


def keep_columns(weight: Tensor, kept: Tensor, *, dtype: torch.dtype) -> InputTransform:
    """The transform that keeps some input dimensions of a weight in 16 bits.

    Args:
        weight: [rows, columns].
        kept: [p] column numbers, in any order.
        dtype: bfloat16 or float16, in which they are kept.
    """
    columns = weight.shape[1]
    kept = torch.sort(kept.to(torch.int64)).values
    is_coded = torch.ones(columns, dtype=torch.bool, device=weight.device)
    is_coded[kept] = False
    return InputTransform(
        columns=columns,
        kept=kept,
        kept_weights=weight.index_select(1, kept).to(dtype),
        coded=is_coded.nonzero().reshape(-1),
    )
