"""A linear layer whose weight stays packed."""

from typing import Any

import torch
from torch import Tensor, nn

from kbit.models.record import LayerRecord
from kbit.models.stored_weight import StoredWeight


class KbitLinear(StoredWeight, nn.Linear):  # type: ignore[override]
    """`y = x W^T + bias` with W as codes and scales.

    It is an `nn.Linear` for those who ask (`isinstance` is how PEFT finds layers to adapt), without its
    constructor: there is no dense parameter. It also takes the place of GPT-2's `Conv1D`, whose weight
    was transposed when it was coded. Gradients flow to the input and the bias, not to the codes.
    """

    def __init__(
        self,
        record: LayerRecord,
        *,
        bias: bool,
        dtype: torch.dtype | None = None,
        device: Any = None,
    ) -> None:
        nn.Module.__init__(self)
        self.out_features, self.in_features = record.shape
        self.hold(record, device=device)
        empty = torch.empty(self.out_features, dtype=dtype, device=device) if bias else None
        self.register_parameter("bias", None if empty is None else nn.Parameter(empty))

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002 (the name nn.Linear gives it)
        """Multiply; the result has the input's type."""
        bias = None if self.bias is None else self.bias.to(input.dtype)
        if not self.record.transforms_inputs:
            return self.multiply(input, bias)
        inputs = self.inputs
        if inputs is None:  # not reached: the record says that there are
            return self.multiply(input, bias)
        y = self.multiply(inputs.apply(input), bias)
        kept = inputs.kept_product(input)
        return y if kept is None else y + kept.to(y.dtype)

    def extra_repr(self) -> str:
        """Sizes and format, for `print(model)`."""
        return (
            f"in_features={self.in_features}, out_features={self.out_features}, "
            f"bias={self.bias is not None}, format={self.record.format}"
        )
