"""Small matrices beside the layers of a frozen model (Hu et al. 2021, LoRA), through PEFT."""

from typing import Any

import torch
from torch import nn

from kbit.errors import TrainingError
from kbit.models.adapter import peft_library
from kbit.models.stored_weight import StoredWeight
from kbit.training.finetune.settings import Tuning


def make_trainable(model: Any, tuning: Tuning) -> None:
    """Have the tuning's method train `model`: every weight of it, or LoRA's matrices beside frozen layers.

    A packed layer is a linear layer for PEFT; its product is differentiable in the input, so gradients reach
    the matrices of earlier layers through the codes, and no dense weight is kept for them.

    Raises:
        MissingExtraError: LoRA, and PEFT is not installed.
        TrainingError: `full`, and the model's weights are packed; or LoRA, and there is no linear layer.
    """
    packed = [name for name, module in model.named_modules() if isinstance(module, StoredWeight)]
    if tuning.method == "full":
        if packed:
            raise TrainingError(
                f"{packed[0]} is packed, and codes cannot be trained: use method lora, which trains beside "
                "them, or fine-tune the 16-bit model and quantise the result."
            )
        model.requires_grad_(True)
        return
    peft = peft_library("fine-tuning with LoRA")
    names = adapted_layers(model)
    if not names:
        raise TrainingError(f"{type(model).__name__} has no linear layer outside its head: use method full.")
    for parameter in model.parameters():
        parameter.requires_grad_(False)
    config = peft.LoraConfig(
        r=tuning.rank,
        lora_alpha=tuning.alpha,
        lora_dropout=tuning.dropout,
        target_modules=names,
        bias="none",
        task_type="CAUSAL_LM",
        fan_in_fan_out=_has_conv1d(model),
    )
    torch.manual_seed(tuning.seed)
    peft.inject_adapter_in_model(config, model, "default")
    for parameter in trained(model):
        parameter.data = parameter.data.float()


def adapted_layers(model: Any) -> list[str]:
    """Last names of the linear layers LoRA stands beside: all but the head, sorted."""
    from transformers.pytorch_utils import Conv1D

    head = model.get_output_embeddings()
    return sorted(
        {
            name.rpartition(".")[2]
            for name, module in model.named_modules()
            if isinstance(module, nn.Linear | Conv1D) and module is not head
        }
    )


def trained(model: Any) -> list[nn.Parameter]:
    """The parameters that training moves."""
    return [parameter for parameter in model.parameters() if parameter.requires_grad]


def _has_conv1d(model: Any) -> bool:
    from transformers.pytorch_utils import Conv1D

    return any(isinstance(module, Conv1D) for module in model.modules())
