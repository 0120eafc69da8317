"""Folders of other tools give the logits of a dense model of the weights that their files hold.

The files of GPTQ, AWQ and compressed-tensors are written by hand, those of bitsandbytes by itself and decoded
by hand. Each test needs the tool: `pip install 'kbit[bitsandbytes,gptq,compressed-tensors]'`.
"""

import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoConfig, AutoModelForCausalLM

from kbit.models import load, stored_bits
from kbit.models.foreign.folders import TOOLS, _installed

TOKENS = torch.arange(20)[None]
# GPTQ's and AWQ's products on a CPU are in half precision whatever the model computes in.
TOLERANCE = {"gptq": 5e-3, "awq": 5e-3, "compressed-tensors": 1e-6, "bitsandbytes": 1e-5}


def module(name: str, folder: Path):
    spec = importlib.util.spec_from_file_location(f"kbit_tests_foreign_{name}", folder / f"{name}.py")
    made = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(made)
    return made


HERE = Path(__file__).parent
layouts, tiny = module("folder_layouts", HERE), module("tiny", HERE.parent)


def need(tool):
    if not all(_installed(name) for name in TOOLS[tool].modules):
        pytest.skip(f"{TOOLS[tool].name} is not installed")


@pytest.fixture
def source(tmp_path):
    sizes = {"hidden_size": 128, "intermediate_size": 256, "num_key_value_heads": 4}
    return tiny.write_model(tmp_path / "source", "llama", **sizes)


def error(folder, source, dense, dtype):
    model = AutoModelForCausalLM.from_config(AutoConfig.from_pretrained(source), dtype=torch.float32).eval()
    model.load_state_dict(dense)
    with torch.no_grad():
        wanted = model(TOKENS).logits
        found = load(folder, dtype=dtype)(TOKENS).logits
    assert found.dtype == (dtype or torch.bfloat16)
    return float((found.float() - wanted).norm() / wanted.norm())


@pytest.mark.parametrize(
    ("tool", "act_order"), [("gptq", False), ("gptq", True), ("awq", False), ("compressed-tensors", False)]
)
def test_hand_made_folders(source, tmp_path, tool, act_order):
    need(tool)
    dense = layouts.write_layout(source, tmp_path / "out", tool, act_order=act_order)
    assert error(tmp_path / "out", source, dense, torch.float32) < TOLERANCE[tool]
    assert error(tmp_path / "out", source, dense, None) < 0.1
    stored = stored_bits(tmp_path / "out")
    files = load_file(tmp_path / "out" / "model.safetensors").values()
    assert stored.whole == sum(8 * t.numel() * t.element_size() for t in files)
    # 4 bits, a scale of 16 bits for 32 weights and, but for symmetric codes, a zero of 4; then norms, indices
    assert (4.5 if tool == "compressed-tensors" else 4.625) < stored.body_bits_per_weight < 4.9


@pytest.mark.parametrize("kind", ["nf4", "fp4 double", "int8"])
def test_folders_that_bitsandbytes_writes(source, tmp_path, kind):
    need("bitsandbytes")
    from transformers import BitsAndBytesConfig

    name, _, double = kind.partition(" ")
    config = (
        BitsAndBytesConfig(load_in_8bit=True)
        if name == "int8"
        else BitsAndBytesConfig(
            load_in_4bit=True, bnb_4bit_quant_type=name, bnb_4bit_use_double_quant=bool(double)
        )
    )
    made = AutoModelForCausalLM.from_pretrained(source, quantization_config=config, device_map="cpu")
    made.save_pretrained(tmp_path / "out")
    files = load_file(tmp_path / "out" / "model.safetensors")
    dense = {}
    for key, weight in load_file(source / "model.safetensors").items():
        stored = files[key]
        dense[key] = stored.float()
        if name == "int8" and stored.dtype == torch.int8:
            dense[key] = stored.float() * files[key.replace(".weight", ".SCB")].float()[:, None] / 127
        elif stored.dtype == torch.uint8:
            dense[key] = four_bits(files, key).view(weight.shape)
    # int8 products round activations to 8 bits too.
    limit = 0.05 if name == "int8" else TOLERANCE["bitsandbytes"]
    assert 0 <= error(tmp_path / "out", source, dense, torch.float32) < limit
    whole = sum(8 * t.numel() * t.element_size() for t in files.values())
    assert stored_bits(tmp_path / "out").whole == whole


def four_bits(files, key):
    """The weights of a 4-bit tensor: the first of two codes in the high half of a byte."""
    state = next(files[n] for n in files if n.startswith(f"{key}.quant_state."))
    state = json.loads(bytes(state.tolist()))
    absmax = files[f"{key}.absmax"]
    if absmax.dtype == torch.uint8:
        nested = files[f"{key}.nested_quant_map"][absmax.int()].view(-1)
        blocks = files[f"{key}.nested_absmax"].repeat_interleave(state["nested_blocksize"])
        absmax = nested * blocks[: len(nested)] + state["nested_offset"]
    packed = files[key].view(-1)
    codes = torch.stack([packed >> 4, packed & 15], dim=1).view(-1).int()
    return files[f"{key}.quant_map"][codes] * absmax.float().repeat_interleave(state["blocksize"])


def test_measure_prints_them_with_their_stored_bits(tmp_path):
    need("compressed-tensors")
    from kbit import ladder
    from kbit.models import load_tokenizer

    rung = Path(str(ladder.rungs()[-1]))
    dense = layouts.write_layout(rung, tmp_path / "out", "compressed-tensors")
    assert dense
    load_tokenizer(rung).save_pretrained(tmp_path / "out")
    (tmp_path / "text.txt").write_text("Return the number of items in the list.\n" * 20)
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "kbit",
            "measure",
            tmp_path / "out",
            "--text",
            tmp_path / "text.txt",
            "--json",
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    row = json.loads(done.stdout)
    assert row["stored_as"] == "compressed-tensors:pack-quantized"
    assert row["body_bits_per_weight"] == pytest.approx(stored_bits(tmp_path / "out").body_bits_per_weight)
