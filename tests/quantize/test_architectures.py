"""Every architecture: exactly the expected tensors stay in 16 bits; the folder saves, loads and generates."""

import re

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM

from kbit.models import load, open_model
from kbit.quantize import quantize_model

LLAMA = ["model.embed_tokens.weight", "lm_head.weight", "model.norm.weight"]
LLAMA += [r"model.layers.\d.(input|post_attention)_layernorm.weight"]
QUERIES = [r"model.layers.\d.self_attn.[qk]_norm.weight"]
BIASES = [r"model.layers.\d.self_attn.[qkv]_proj.bias"]
GEMMA2 = [r"model.layers.\d.(pre|post)_feedforward_layernorm.weight"]
# What is not packed: names, as patterns.
KEPT = {
    "llama": LLAMA,
    "llama-tied": [n for n in LLAMA if n != "lm_head.weight"],
    "mistral": LLAMA,
    "qwen2": [*LLAMA, *BIASES],
    "qwen3": [*LLAMA, *QUERIES],
    "gemma": LLAMA,
    "gemma2": [*LLAMA, *GEMMA2],
    "gemma3": [*LLAMA, *GEMMA2, *QUERIES],
    "phi": [
        "model.embed_tokens.weight",
        r"lm_head.(weight|bias)",
        r"model.final_layernorm.(weight|bias)",
        r"model.layers.\d.input_layernorm.(weight|bias)",
        r"model.layers.\d.(self_attn.([qkv]_proj|dense)|mlp.fc[12]).bias",
    ],
    "phi3": LLAMA,
    "gpt2": [
        r"transformer.w[tp]e.weight",
        r"transformer.(h.\d.ln_[12]|ln_f).(weight|bias)",
        r"transformer.h.\d.(attn|mlp).c_(attn|fc|proj).bias",
    ],
    "gpt_neox": [
        r"gpt_neox.embed_in.weight",
        r"(lm_head|embed_out).weight",
        r"gpt_neox.(layers.\d.(input|post_attention)_layernorm|final_layer_norm).(weight|bias)",
        r"gpt_neox.layers.\d.(attention|mlp).(query_key_value|dense|dense_h_to_4h|dense_4h_to_h).bias",
    ],
    "opt": [
        r"model.decoder.embed_(tokens|positions).weight",
        r"model.decoder.final_layer_norm.(weight|bias)",
        r"model.decoder.layers.\d.(self_attn|final)_layer_norm.(weight|bias)",
        r"model.decoder.layers.\d.(self_attn.([qkv]|out)_proj|fc[12]).bias",
    ],
    "bloom": [
        r"transformer.word_embeddings.weight",
        r"transformer.(word_embeddings_layernorm|ln_f).(weight|bias)",
        r"transformer.h.\d.(input|post_attention)_layernorm.(weight|bias)",
        r"transformer.h.\d.(self_attention|mlp).(query_key_value|dense|dense_h_to_4h|dense_4h_to_h).bias",
    ],
    "mixtral": [*LLAMA, r"model.layers.\d.mlp.gate.weight"],
    "qwen2_moe": [
        *LLAMA,
        *BIASES,
        r"model.layers.\d.mlp.gate.weight",
    ],
}
TIED = {"gpt2", "opt", "bloom", "gemma", "gemma2", "gemma3", "qwen2", "llama-tied"}
TOKENS = torch.tensor([[1, 5, 99, 5, 42, 7, 100, 3]])


def test_every_architecture_is_here(tiny):
    assert set(KEPT) == set(tiny.ARCHITECTURES)


@pytest.mark.parametrize("name", list(KEPT))
def test_what_is_kept_is_what_is_expected_and_the_folder_goes_round(tiny, tmp_path, name):
    source = tiny.write_model(tmp_path / "model", name)
    report = quantize_model(source, tmp_path / "out", format="nf4:b32")
    stored = load_file(tmp_path / "out" / "model.safetensors")
    records = open_model(tmp_path / "out").records
    kept = {n for n in stored if n.rpartition(".")[0] not in records or n.endswith((".weight", ".bias"))}
    patterns = [re.compile(p.replace(".weight", r"\.weight")) for p in KEPT[name]]
    tied = name in TIED
    patterns = [p for p in patterns if not (tied and p.pattern.startswith("lm_head"))]
    unexpected = {n for n in kept if not any(p.fullmatch(n) for p in patterns)}
    unused = [p.pattern for p in patterns if not any(p.fullmatch(n) for n in kept)]
    assert (unexpected, unused) == (set(), [])
    # Whatever else was a weight of two dimensions is packed, and the report says what is not.
    assert {k.name for k in report.kept} == {n for n in kept if stored[n].ndim > 1}
    assert all(tensor.dtype == torch.bfloat16 for n, tensor in stored.items() if n in kept)
    source_matrices = {n for n, t in load_file(source / "model.safetensors").items() if t.ndim > 1}
    if name not in ("mixtral", "qwen2_moe", "gpt_neox"):  # their files have other names
        assert {f"{n}.weight" for n in records} == source_matrices - kept
    model = load(tmp_path / "out", dtype=torch.float32)
    with torch.no_grad():
        before = model(TOKENS).logits
        model.save_pretrained(tmp_path / "again")
        again = AutoModelForCausalLM.from_pretrained(tmp_path / "again", dtype=torch.float32)
        assert torch.equal(again(TOKENS).logits, before)
        made = again.generate(TOKENS, max_new_tokens=4, min_new_tokens=4, do_sample=False, pad_token_id=0)
    assert made.shape == (1, 12)
    assert torch.equal(made[:, :8], TOKENS)
