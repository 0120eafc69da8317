"""Folders that other tools have quantised and Transformers loads: bitsandbytes, GPTQ, AWQ and others."""

import importlib.util
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

import torch

from kbit.errors import MissingExtraError, ModelError
from kbit.models.locate import read_config
from kbit.models.safetensors_read import read_folder_tensors
from kbit.models.size import StoredBits
from kbit.models.skeleton import Skeleton, build_skeleton


@dataclass(frozen=True, kw_only=True, slots=True)
class Tool:
    """A tool whose folders are read.

    Attributes:
        method: `quant_method` in the config.
        name: the tool's.
        modules: what Transformers imports to load it.
        extra: kbit's extra that installs it.
    """

    method: str
    name: str
    modules: tuple[str, ...]
    extra: str


TOOLS: Mapping[str, Tool] = MappingProxyType(
    {
        tool.method: tool
        for tool in (
            Tool(method="bitsandbytes", name="bitsandbytes", modules=("bitsandbytes",), extra="bitsandbytes"),
            Tool(method="gptq", name="GPTQ", modules=("gptqmodel", "optimum.gptq"), extra="gptq"),
            Tool(method="awq", name="AWQ", modules=("gptqmodel",), extra="gptq"),
            Tool(
                method="compressed-tensors",
                name="compressed-tensors",
                modules=("compressed_tensors",),
                extra="compressed-tensors",
            ),
        )
    }
)
"""By `quant_method`."""


def foreign_tool(config: Mapping[str, Any]) -> Tool | None:
    """The tool that quantised the model of a config; None where it was kbit, or none."""
    quantization = config.get("quantization_config")
    if not isinstance(quantization, Mapping):
        return None
    method = quantization.get("quant_method")
    if method is None and (quantization.get("load_in_4bit") or quantization.get("load_in_8bit")):
        method = "bitsandbytes"  # folders of old versions name none
    return TOOLS.get(str(method))


def foreign_label(config: Mapping[str, Any]) -> str:
    """What tables call the format: the tool, its type or bits, and its group."""
    tool, given = foreign_tool(config), config.get("quantization_config") or {}
    if tool is None:
        raise ValueError("not a folder of another tool")
    if tool.method == "bitsandbytes":
        kind = given.get("bnb_4bit_quant_type", "fp4") if given.get("load_in_4bit") else "int8"
        double = given.get("load_in_4bit") and given.get("bnb_4bit_use_double_quant")
        return f"bitsandbytes:{kind}" + (":double" if double else "")
    if tool.method == "compressed-tensors":
        return f"compressed-tensors:{given.get('format', 'unknown')}"
    bits = given.get("bits", given.get("w_bit"))
    group = given.get("group_size", given.get("q_group_size"))
    return f"{tool.method}:{bits}bit:g{group}"


def foreign_stored_bits(folder: Path) -> StoredBits:
    """Bits of every tensor of the folder's files, the second copy of a tied one left out."""
    skeleton, tensors = build_skeleton(folder), read_folder_tensors(folder).tensors
    modules = frozenset(name for name, _ in skeleton.model.named_modules())
    bits = {"body": 0, "embeddings": 0}
    for name, stored in tensors.items():
        if skeleton.tied.get(name) in tensors:
            continue
        bits[skeleton.group(_module(name, modules, skeleton))] += 8 * stored.spec.size_bytes
    return StoredBits(
        body=bits["body"],
        embeddings=bits["embeddings"],
        body_weights=skeleton.body_parameters,
        embeddings_weights=skeleton.parameters - skeleton.body_parameters,
    )


def _module(name: str, modules: frozenset[str], skeleton: Skeleton) -> str:
    """The module a stored part belongs to: `a.weight.absmax` is of `a`."""
    stem = name
    while "." in stem:
        stem = stem.rpartition(".")[0]
        if stem in modules and stem:
            return stem
    return name if skeleton.head is None else stem


def load_foreign(folder: Path, *, dtype: torch.dtype | None) -> Any:
    """Load a folder with Transformers and its tool, on the CPU.

    Raises:
        MissingExtraError: the tool is not installed.
        ModelError: it cannot load the folder here, or leaves weights at random values.
    """
    from transformers import AutoModelForCausalLM

    tool = foreign_tool(read_config(folder))
    if tool is None:
        raise ValueError("not a folder of another tool")
    read_folder_tensors(folder)  # every header against its file's length
    if not all(_installed(module) for module in tool.modules):
        raise MissingExtraError(tool.extra, needed_for=f"{folder}: a folder that {tool.name} has quantised")
    try:
        model, info = AutoModelForCausalLM.from_pretrained(
            folder,
            dtype="auto" if dtype is None else dtype,
            device_map="cpu",
            use_safetensors=True,
            local_files_only=True,
            trust_remote_code=False,
            output_loading_info=True,
        )
    except (
        Exception
    ) as error:  # each tool fails in its own way where a CPU, a type or a file does not suit it
        raise ModelError(
            f"{folder}: {tool.name} cannot load it here: {type(error).__name__}: {error}"
        ) from error
    for kind in ("missing_keys", "mismatched_keys"):
        names = sorted(map(str, info.get(kind) or ()))
        if names:
            raise ModelError(
                f"{folder}: {len(names)} weights are {kind.split('_')[0]}, such as {names[0]}, and would be "
                "random. Copy or download the model again."
            )
    if dtype is not None:
        _compute_in(model, dtype)
    return model


def _installed(module: str) -> bool:
    try:
        return importlib.util.find_spec(module) is not None
    except ModuleNotFoundError:  # of `a.b` without `a`
        return False


def _compute_in(model: Any, dtype: torch.dtype) -> None:
    """Bring what is not quantised to a type: a tool may have loaded it in the type it likes best."""
    for module in model.modules():
        if type(module).__module__.startswith(("torch.nn.", "transformers.models.")):
            for own in (module._parameters, module._buffers):
                for name, tensor in own.items():
                    if tensor is not None and tensor.is_floating_point() and tensor.dtype != dtype:
                        cast = tensor.detach().to(dtype)
                        own[name] = torch.nn.Parameter(cast, False) if own is module._parameters else cast
        elif isinstance(getattr(module, "compute_dtype", None), torch.dtype):
            module.compute_dtype = dtype
            # bitsandbytes' product on processors with bfloat16 rounds activations to it.
            if dtype == torch.float32 and hasattr(module, "support_avx512bf16_for_cpu"):
                module.support_avx512bf16_for_cpu = False
    model.config.dtype = dtype
