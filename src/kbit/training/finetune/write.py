"""A fine-tuned model on disk, whole or absent: an adapter, or a model with the adapter merged in."""

import json
import shutil
import tempfile
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor

from kbit.models.adapter import CONFIG, PREFIX, RECORD, WEIGHTS, peft_library
from kbit.models.atomic_folder import new_folder
from kbit.models.content import tokenizer_files
from kbit.models.stored_weight import StoredWeight
from kbit.quantize import quantize_model
from kbit.training.export import quiet

BESIDE = ("generation_config.json",)


def write_adapter(
    out: Path, model: Any, *, base: str, base_folder: Path, record: dict[str, Any], overwrite: bool = False
) -> None:
    """Write a LoRA adapter as PEFT does, with the tokeniser of its model and `finetune.json`.

    Args:
        out: the folder to make.
        model: with an adapter named `default`.
        base: what the adapter names as its model: an absolute folder, or a hub id.
        base_folder: where that model lies now.
        record: what `finetune.json` holds.
        overwrite: replace a folder that holds an adapter or a model.
    """
    peft = peft_library("writing an adapter")
    config = model.peft_config["default"]
    tensors = peft.get_peft_model_state_dict(model, adapter_name="default")
    with _replacing(out, overwrite) as folder:
        config.base_model_name_or_path = base
        config.inference_mode = True
        config.save_pretrained(str(folder))
        _sorted_config(folder / CONFIG)
        save_file(
            {PREFIX + name: tensor.detach().contiguous() for name, tensor in sorted(tensors.items())},
            folder / WEIGHTS,
            metadata={"format": "pt"},
        )
        _finish(folder, base_folder, record, tokenizer_only=True)


def write_model(
    out: Path,
    model: Any,
    *,
    base_folder: Path,
    record: dict[str, Any],
    weight_format: str | None = None,
    overwrite: bool = False,
) -> None:
    """Write a dense model in bfloat16, an adapter merged into it; or at a weight format.

    Args:
        out: the folder to make.
        model: trained whole, or with an adapter, on dense or packed layers.
        base_folder: the model it was made from: its config and tokeniser.
        record: what `finetune.json` holds.
        weight_format: quantise the result to this, by `kbit.quantize` with nearest entries.
        overwrite: replace a folder that holds an adapter or a model.
    """
    dense = merged(model)
    with tempfile.TemporaryDirectory(prefix=".kbit-merge-", dir=_existing(out.parent)) as scratch:
        if weight_format is None:
            with _replacing(out, overwrite) as folder:
                with quiet():
                    dense.to(torch.bfloat16).save_pretrained(folder)
                _finish(folder, base_folder, record)
            return
        whole, packed = Path(scratch) / "dense", Path(scratch) / "packed"
        whole.mkdir()
        with quiet():
            dense.to(torch.bfloat16).save_pretrained(whole)
        _finish(whole, base_folder, record)
        quantize_model(whole, packed, format=weight_format)
        with _replacing(out, overwrite) as folder:
            shutil.copytree(packed, folder, dirs_exist_ok=True)
            (folder / RECORD).write_text(json.dumps(record, indent=2, ensure_ascii=False) + "\n")


def merged(model: Any) -> Any:
    """A dense model that computes what `model` does, in float32: codes decoded, adapters added to weights.

    Args:
        model: with or without packed layers, with or without an adapter.
    """
    from transformers import AutoModelForCausalLM

    import kbit.hf  # noqa: F401 (a model with a latent space is registered there)

    config = type(model.config).from_dict(
        {key: value for key, value in model.config.to_dict().items() if key != "quantization_config"}
    )
    dense = AutoModelForCausalLM.from_config(config).float().eval()
    tied = set(dense.all_tied_weights_keys)
    values = _dense_values(model)
    with torch.no_grad():
        for name, parameter in dense.named_parameters(remove_duplicate=False):
            if name not in tied:
                value = values[name]
                parameter.copy_(value if value.shape == parameter.shape else value.T)
        buffers: dict[str, Tensor] = dict(dense.named_buffers())
        for name in buffers.keys() & values.keys():
            buffers[name].copy_(values[name])
    dense.tie_weights()
    dense.generation_config = model.generation_config
    return dense


def _dense_values(model: Any) -> dict[str, Tensor]:
    """Weights by the names they have without an adapter, decoded and merged; packed ones as [out, in]."""
    values: dict[str, Tensor] = {}
    modules: dict[str, Any] = dict(model.named_modules())
    for name, module in modules.items():
        if hasattr(module, "base_layer"):
            base = module.base_layer
            weight = base.dense() if isinstance(base, StoredWeight) else base.weight.detach().float()
            values[f"{name}.weight"] = weight + module.get_delta_weight("default").detach().float()
            if getattr(base, "bias", None) is not None:
                values[f"{name}.bias"] = base.bias.detach().float()
        elif isinstance(module, StoredWeight):
            values.setdefault(f"{name}.weight", module.dense())
            bias: Any = getattr(module, "bias", None)
            if bias is not None:
                values[f"{name}.bias"] = bias.detach().float()
    for name, tensor in (*model.named_parameters(remove_duplicate=False), *model.named_buffers()):
        values.setdefault(name, tensor.detach())
    return values


def _finish(folder: Path, base: Path, record: dict[str, Any], *, tokenizer_only: bool = False) -> None:
    for file in tokenizer_files(base):
        shutil.copyfile(file, folder / file.name)
    if not tokenizer_only:
        for name in BESIDE:
            if (base / name).is_file() and not (folder / name).exists():
                shutil.copyfile(base / name, folder / name)
    (folder / RECORD).write_text(json.dumps(record, indent=2, ensure_ascii=False) + "\n")


def _replacing(out: Path, overwrite: bool) -> Any:
    if overwrite and (out / CONFIG).is_file() and not (out / "config.json").exists():
        shutil.rmtree(out)  # an adapter, which the rule for model folders does not know
    return new_folder(out, overwrite=overwrite)


def _existing(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def _sorted_config(file: Path) -> None:
    """The same adapter gives the same file: PEFT writes names of layers in the order of a set."""
    config = json.loads(file.read_text())
    for key, value in config.items():
        if isinstance(value, list) and all(isinstance(item, str) for item in value):
            config[key] = sorted(value)
    file.write_text(json.dumps(config, indent=2, sort_keys=True) + "\n")
