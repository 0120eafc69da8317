"""Folders of other tools: what they store is counted part by part, and a tool that is missing is named."""

import importlib.util
import json

import pytest
import torch
from safetensors.torch import load_file, save_file

from kbit.errors import MissingExtraError, ModelError
from kbit.models import load, open_model, stored_bits
from kbit.models.foreign import folders
from kbit.quantize import quantize_model


def module(name: str):
    from pathlib import Path

    path = Path(__file__).parent.parent / f"{name}.py"
    spec = importlib.util.spec_from_file_location(f"kbit_tests_models_{name}", path)
    made = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(made)
    return made


@pytest.fixture
def gptq(tmp_path):
    """A folder as GPTQ lays it out: 4 bits, groups of 16, packed into 32-bit words; numbers mean nothing."""
    folder = module("tiny").write_model(tmp_path / "model", "llama", hidden_size=64, intermediate_size=96)
    state, made = load_file(folder / "model.safetensors"), {}
    for name, weight in state.items():
        layer = name.removesuffix(".weight")
        if not layer.endswith("_proj"):
            made[name] = weight
            continue
        rows, columns = weight.shape
        made[f"{layer}.qweight"] = torch.zeros(columns // 8, rows, dtype=torch.int32)
        made[f"{layer}.qzeros"] = torch.zeros(columns // 16, rows // 8, dtype=torch.int32)
        made[f"{layer}.scales"] = torch.zeros(columns // 16, rows, dtype=torch.float16)
        made[f"{layer}.g_idx"] = torch.zeros(columns, dtype=torch.int32)
    save_file(made, folder / "model.safetensors", {"format": "pt"})
    configure(folder, {"quant_method": "gptq", "bits": 4, "group_size": 16})
    return folder, state


def configure(folder, quantization):
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"quantization_config": quantization}))


def test_stored_bits_are_those_of_every_part(gptq):
    folder, dense = gptq
    body = embeddings = 0
    for name, weight in dense.items():
        if name in ("model.embed_tokens.weight", "lm_head.weight"):
            embeddings += 16 * weight.numel()
        elif weight.ndim == 1:
            body += 16 * weight.numel()
        else:  # codes, a zero of 4 bits and a scale of 16 for each 16 weights, an index of 32 for each input
            body += weight.numel() * 4 + weight.numel() // 16 * (4 + 16) + 32 * weight.shape[1]
    found = stored_bits(folder)
    assert (found.body, found.embeddings) == (body, embeddings)
    assert found.weights == sum(t.numel() for t in dense.values())
    opened = open_model(folder)
    assert (opened.foreign_format, opened.records) == ("gptq:4bit:g16", {})


@pytest.mark.parametrize(
    ("quantization", "label"),
    [
        ({"quant_method": "awq", "bits": 4, "group_size": 128}, "awq:4bit:g128"),
        (
            {"quant_method": "bitsandbytes", "load_in_4bit": True, "bnb_4bit_quant_type": "nf4"},
            "bitsandbytes:nf4",
        ),
        (
            {"load_in_4bit": True, "bnb_4bit_quant_type": "fp4", "bnb_4bit_use_double_quant": True},
            "bitsandbytes:fp4:double",
        ),
        ({"quant_method": "bitsandbytes", "load_in_8bit": True}, "bitsandbytes:int8"),
        (
            {"quant_method": "compressed-tensors", "format": "pack-quantized"},
            "compressed-tensors:pack-quantized",
        ),
    ],
)
def test_labels_name_the_tool_and_its_type(gptq, quantization, label):
    folder, _ = gptq
    configure(folder, quantization)
    assert open_model(folder).foreign_format == label


def test_a_tool_that_is_missing_is_named(gptq, monkeypatch):
    folder, _ = gptq
    monkeypatch.setattr(folders.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(MissingExtraError, match=r"GPTQ has quantised needs the extra 'gptq'"):
        load(folder)


def test_other_methods_and_quantising_again_are_refused(gptq, tmp_path):
    folder, _ = gptq
    with pytest.raises(ModelError, match=r"is quantised already \(gptq\)"):
        quantize_model(folder, tmp_path / "out", format="nf4")
    configure(folder, {"quant_method": "unheard-of"})
    with pytest.raises(ModelError, match="quant_method is 'unheard-of'"):
        open_model(folder)


def test_a_truncated_file_is_refused_before_the_tool_sees_it(gptq):
    folder, _ = gptq
    file = folder / "model.safetensors"
    file.write_bytes(file.read_bytes()[:-10])
    with pytest.raises(ModelError, match=r"model\.safetensors"):
        stored_bits(folder)
    with pytest.raises(ModelError, match=r"model\.safetensors"):
        load(folder)
