"""A tiny random Llama, a tokeniser for it, and an independent forward pass in NumPy float64."""

import json
import math
from pathlib import Path

import numpy as np
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

MERGES = [("Ġ", "t"), ("h", "e"), ("Ġt", "he"), ("i", "n"), ("e", "r"), ("Ġ", "a"), ("å", "¥")]


def tokenizer(*, bos: bool = True, eos: bool = True) -> PreTrainedTokenizerFast:
    """Byte-level BPE with seven merges; it gives back every text."""
    pieces = ["<s>", "</s>", *sorted(pre_tokenizers.ByteLevel.alphabet()), *(a + b for a, b in MERGES)]
    inner = Tokenizer(models.BPE(vocab={p: i for i, p in enumerate(pieces)}, merges=MERGES))
    inner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    inner.decoder = decoders.ByteLevel()
    inner.add_special_tokens(["<s>", "</s>"])
    return PreTrainedTokenizerFast(
        tokenizer_object=inner, bos_token="<s>" if bos else None, eos_token="</s>" if eos else None
    )


def config(**changes) -> LlamaConfig:
    settings = {
        "vocab_size": 265,
        "hidden_size": 32,
        "intermediate_size": 48,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "max_position_embeddings": 64,
        "tie_word_embeddings": False,
        "initializer_range": 0.25,  # far from uniform, so that a wrong position or mask shows
        "bos_token_id": 0,
        "eos_token_id": 1,
    }
    return LlamaConfig(**{**settings, **changes})


def model(seed: int = 0, **changes) -> LlamaForCausalLM:
    torch.manual_seed(seed)
    return LlamaForCausalLM(config(**changes)).float().eval()


def folder(path: Path, seed: int = 0, **changes) -> Path:
    model(seed, **changes).save_pretrained(path)
    tokenizer().save_pretrained(path)
    return path


class NumpyLlama:
    """Llama from its description, in float64, for one sequence at a time."""

    def __init__(self, weights: dict[str, np.ndarray], config: dict) -> None:
        self.w = {name: np.asarray(value, dtype=np.float64) for name, value in weights.items()}
        self.c = config

    @classmethod
    def of(cls, torch_model: LlamaForCausalLM) -> "NumpyLlama":
        weights = {name: value.detach().numpy() for name, value in torch_model.state_dict().items()}
        return cls(weights, torch_model.config.to_dict())

    @classmethod
    def read(cls, path: Path) -> "NumpyLlama":
        """Read `model.safetensors` byte by byte: a length, a JSON header, float32 data."""
        raw = (path / "model.safetensors").read_bytes()
        size = int.from_bytes(raw[:8], "little")
        weights = {}
        for name, entry in json.loads(raw[8 : 8 + size]).items():
            if name != "__metadata__":
                assert entry["dtype"] == "F32"
                start, end = entry["data_offsets"]
                data = np.frombuffer(raw[8 + size + start : 8 + size + end], dtype="<f4")
                weights[name] = data.reshape(entry["shape"])
        return cls(weights, json.loads((path / "config.json").read_text()))

    def logits(self, ids: list[int]) -> np.ndarray:
        """[length, vocabulary]."""
        w, c = self.w, self.c
        heads, kv = c["num_attention_heads"], c["num_key_value_heads"]
        wide = c.get("head_dim") or c["hidden_size"] // heads
        theta = c["rope_parameters"]["rope_theta"]
        angle = np.outer(np.arange(len(ids)), theta ** (-np.arange(0, wide, 2) / wide))
        cos, sin = (np.tile(f(angle), 2)[:, None, :] for f in (np.cos, np.sin))

        def norm(x, weight):
            return x / np.sqrt((x * x).mean(-1, keepdims=True) + c["rms_norm_eps"]) * weight

        def rotate(x):
            half = np.concatenate((-x[..., wide // 2 :], x[..., : wide // 2]), -1)
            return x * cos + half * sin

        x = w["model.embed_tokens.weight"][ids]
        for i in range(c["num_hidden_layers"]):
            at = f"model.layers.{i}."
            y = norm(x, w[at + "input_layernorm.weight"])
            q, k, v = (
                (y @ w[f"{at}self_attn.{p}_proj.weight"].T).reshape(len(ids), n, wide)
                for p, n in (("q", heads), ("k", kv), ("v", kv))
            )
            q, k = rotate(q), np.repeat(rotate(k), heads // kv, axis=1)
            v = np.repeat(v, heads // kv, axis=1)
            score = np.einsum("qhd,khd->hqk", q, k) / math.sqrt(wide)
            score += np.triu(np.full((len(ids), len(ids)), -np.inf), 1)
            score = np.exp(score - score.max(-1, keepdims=True))
            score /= score.sum(-1, keepdims=True)
            y = np.einsum("hqk,khd->qhd", score, v).reshape(len(ids), -1)
            x = x + y @ w[at + "self_attn.o_proj.weight"].T
            y = norm(x, w[at + "post_attention_layernorm.weight"])
            gate = y @ w[at + "mlp.gate_proj.weight"].T
            y = gate / (1 + np.exp(-gate)) * (y @ w[at + "mlp.up_proj.weight"].T)
            x = x + y @ w[at + "mlp.down_proj.weight"].T
        x = norm(x, w["model.norm.weight"])
        return x @ w.get("lm_head.weight", w["model.embed_tokens.weight"]).T

    def bits(self, head: int, tokens: list[int]) -> np.ndarray:
        """Bits of each token after `head` and the tokens before it."""
        logits = self.logits([head, *tokens[:-1]])
        top = logits.max(-1, keepdims=True)
        log_p = logits - top - np.log(np.exp(logits - top).sum(-1, keepdims=True))
        return -log_p[np.arange(len(tokens)), tokens] / math.log(2)
