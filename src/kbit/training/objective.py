"""The loss of a model on windows of tokens, as one module, so that gradients can be averaged around it."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from kbit.training.loss import sliced_cross_entropy


class Objective(nn.Module):
    """Mean cross-entropy of a causal language model: matrix products in bfloat16, sums in float32."""

    def __init__(self, model: PreTrainedModel, *, compiled: bool = False) -> None:
        super().__init__()
        self.model = model
        body: Callable[..., Any] = model.base_model
        # Kept out of the registered modules: its parameters are the model's own.
        self.__dict__["body"] = torch.compile(body, dynamic=False) if compiled else body

    def forward(self, windows: Tensor) -> Tensor:
        """Loss in nats a token of `windows` [count, context + 1]: inputs, and the tokens that follow."""
        with torch.autocast(windows.device.type, dtype=torch.bfloat16):
            output = self.__dict__["body"](input_ids=windows[:, :-1], use_cache=False)
            hidden: Tensor = output.last_hidden_state
            head: Tensor = self.model.get_output_embeddings().weight
            return sliced_cross_entropy(
                hidden.flatten(0, 1), head, windows[:, 1:].flatten(), dtype=torch.bfloat16
            )
