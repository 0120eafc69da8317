"""Models of the sizes that benchmarks use, with random weights: dense, or k-bit without ever being dense."""

import json
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from kbit.formats import PackedTensor, WeightFormat, pack_codes, parse_format
from kbit.formats.packed import part_layout
from kbit.models.linear import KbitLinear
from kbit.models.record import LayerRecord, Method
from kbit.models.safetensors_header import TensorSpec
from kbit.models.skeleton import build_skeleton
from kbit.models.swap import swap_modules
from kbit.models.write import FolderWriter, write_config

SHAPES: dict[str, dict[str, int]] = {
    name: {
        "hidden_size": width,
        "intermediate_size": intermediate,
        "num_hidden_layers": layers,
        "num_attention_heads": heads,
        "num_key_value_heads": key_value_heads,
    }
    for name, width, intermediate, layers, heads, key_value_heads in (
        ("7m", 256, 704, 4, 4, 4),
        ("134m", 768, 2048, 12, 12, 12),
        ("1.1b", 2048, 5632, 22, 32, 4),
        ("1.5b", 2048, 5632, 32, 32, 4),  # 3.1 GB in bfloat16
    )
}
"""Llama shapes; every one has 32,000 tokens and an output layer of its own."""


def config(shape: str) -> Any:
    """The configuration of a shape."""
    from transformers import LlamaConfig

    return LlamaConfig(
        **SHAPES[shape], vocab_size=32000, max_position_embeddings=4096, tie_word_embeddings=False
    )


def dense(shape: str) -> Any:
    """A bfloat16 model."""
    from transformers import AutoModelForCausalLM

    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(config(shape), dtype=torch.bfloat16)
    return _fill(model)


def write_dense(shape: str, folder: Path) -> Path:
    """A bfloat16 model as a folder, written tensor by tensor: memory holds one."""
    folder.mkdir(parents=True)
    config(shape).save_pretrained(folder)
    given = json.loads((folder / "config.json").read_text())
    write_config(folder, given | {"dtype": "bfloat16", "architectures": ["LlamaForCausalLM"]})
    shapes = build_skeleton(folder).shapes
    specs = [TensorSpec(name=name, dtype=torch.bfloat16, shape=size) for name, size in shapes.items()]
    with FolderWriter(folder, specs) as writer:
        for spec in specs:
            values = torch.empty(spec.shape, dtype=torch.float32)
            values = values.fill_(1) if values.ndim == 1 else values.normal_(std=0.02)
            writer.write(spec.name, values.to(torch.bfloat16))
    return folder


def packed(shape: str, text: str) -> Any:
    """A model whose linear layers and output layer are in the format; its embedding stays in bfloat16."""
    from transformers import AutoModelForCausalLM

    fmt = parse_format(text)
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(config(shape), dtype=torch.bfloat16)
    records = [
        LayerRecord(
            name=name,
            shape=(module.out_features, module.in_features),
            role="head" if name == "lm_head" else "linear",
            format=fmt,
            method=Method(name="random", version=1),
        )
        for name, module in model.named_modules()
        if isinstance(module, nn.Linear)
    ]
    swap_modules(model, records, dtype=torch.bfloat16)
    for module in model.modules():
        if isinstance(module, KbitLinear):
            module.fill(_random_weight(fmt, module.record.shape))
    return _fill(model), records


def _random_weight(fmt: WeightFormat, shape: tuple[int, int]) -> PackedTensor:
    parts: dict[str, Tensor] = {}
    for part, (size, dtype) in part_layout(fmt, shape).items():
        if part == "codes":
            # Symmetric integers leave their last code unused, and kernels may rely on that.
            table = fmt.datatype.table()
            used = len(table) - (len(table) > 1 and table[-1] == table[-2])
            parts[part] = pack_codes(torch.randint(0, used, shape, dtype=torch.uint8), fmt.bits)
        elif part == "scales" and dtype.is_floating_point:
            largest = max(abs(float(value)) for value in fmt.datatype.table())
            parts[part] = torch.full(size, 0.03 / largest, dtype=dtype)
        elif dtype.is_floating_point:
            parts[part] = torch.zeros(size, dtype=dtype)
        else:
            parts[part] = torch.ones(size, dtype=dtype)
    return PackedTensor(format=fmt, shape=shape, **parts)


def _fill(model: Any) -> Any:
    """Memory and values for what is still on the meta device."""
    for module in model.modules():
        for name, parameter in list(module.named_parameters(recurse=False)):
            if parameter.is_meta:
                values = torch.empty(parameter.shape, dtype=parameter.dtype)
                values = values.fill_(1) if values.ndim == 1 else values.normal_(std=0.02)
                setattr(module, name, nn.Parameter(values, requires_grad=False))
        if hasattr(module, "inv_freq"):
            fresh = type(module)(config=module.config)
            module.inv_freq, module.original_inv_freq = fresh.inv_freq, fresh.original_inv_freq
    return model.eval()
