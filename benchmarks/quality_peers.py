"""Peers of `quality_per_bit.py`: each gives dense weights and the bits it stores for them.

Every peer codes the body's linear layers and nothing else; bits are counted from the tensors it keeps.
"""

import subprocess
import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

LLAMA_FREE = (
    "Q2_K", "Q3_K_S", "Q3_K_M", "Q3_K_L", "IQ3_S", "IQ3_M", "IQ4_XS", "IQ4_NL", "Q4_0", "Q4_1", "Q4_K_S",
    "Q4_K_M", "Q5_0", "Q5_1", "Q5_K_S", "Q5_K_M", "Q6_K", "Q8_0",
)  # fmt: skip
LLAMA_CALIBRATED = (
    "IQ2_XXS", "IQ2_XS", "IQ2_S", "IQ2_M", "Q2_K_S", "Q2_K", "IQ3_XXS", "IQ3_XS", "IQ3_S", "IQ3_M", "Q3_K_S",
    "Q3_K_M", "Q3_K_L", "IQ4_XS", "IQ4_NL", "Q4_0", "Q4_K_S", "Q4_K_M", "Q5_K_S", "Q5_K_M", "Q6_K",
)  # fmt: skip
# Mixes that give some tensors more bits also exist as one type for all.
PURE = ("Q2_K", "Q3_K_S", "IQ3_XXS", "IQ3_S", "IQ2_XS", "IQ2_S", "IQ4_XS", "Q4_K_S", "Q5_K_S")


@dataclass(frozen=True, kw_only=True, slots=True)
class Given:
    """What peers start from.

    Attributes:
        weights: float32 weights of the body's linear layers, by name.
        squares: gives the mean square of each input of each of them on the calibration text.
        folder: the 16-bit model.
        llama_quantize: llama.cpp's program, or None.
    """

    weights: Mapping[str, Tensor]
    squares: Callable[[], Mapping[str, Tensor]]
    folder: Path
    llama_quantize: Path | None


@dataclass(frozen=True, kw_only=True, slots=True)
class Made:
    """Dense weights and stored bits, of the linear layers; or why there are none."""

    weights: Mapping[str, Tensor] | None = None
    bits: int = 0
    reason: str | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Contestant:
    """A peer's setting: `calibrated` where it reads text."""

    peer: str
    name: str
    calibrated: bool
    make: Callable[[Given], Made]


def contestants() -> Iterator[Contestant]:
    """All peers but those that kbit itself runs."""
    yield from _llama()
    for nbits in (8, 6, 5, 4, 3, 2):
        for group in (64,) if nbits > 4 else (32, 64, 128):
            yield _each("hqq", f"hqq{nbits} g{group}", lambda w, n=nbits, g=group: _hqq(w, n, g))
    for kind in ("nf4", "fp4"):
        for block, double in ((64, False), (64, True), (128, True), (256, False)):
            name = f"{kind} b{block}" + (" double" if double else "")
            yield _each("bitsandbytes", name, lambda w, k=kind, b=block, d=double: _bitsandbytes(w, k, b, d))
    for kind, optimizer in (
        ("qint8", "max"), ("qint4", "max"), ("qint4", "hqq"), ("qint2", "max"), ("qint2", "hqq"),
    ):  # fmt: skip
        yield _each("quanto", f"{kind} {optimizer}", lambda w, k=kind, o=optimizer: _quanto(w, k, o))
    for name in ("int8", "int4 tiled", "intx4 g32", "intx3 g32", "intx2 g32"):
        yield _each("torchao", name, lambda w, n=name: _torchao(w, n))


def _each(peer: str, name: str, one: Callable[[Tensor], tuple[Tensor, int]]) -> Contestant:
    """A peer that codes weight by weight and reads no text."""

    def make(given: Given) -> Made:
        made, bits = {}, 0
        for layer, weight in given.weights.items():
            made[layer], size = one(weight)
            bits += size
        return Made(weights=made, bits=bits)

    return Contestant(peer=peer, name=name, calibrated=False, make=make)


def _size(*tensors: Tensor | None) -> int:
    return sum(8 * t.numel() * t.element_size() for t in tensors if t is not None)


def _hqq(weight: Tensor, nbits: int, group: int) -> tuple[Tensor, int]:
    from hqq.core.quantize import Quantizer

    coded, meta = Quantizer.quantize(
        weight.clone(), nbits=nbits, group_size=group, axis=1, device="cpu", compute_dtype=torch.float32
    )
    # Scales and zero points are kept in 16 bits by its own files.
    bits = _size(coded) + 16 * (meta["scale"].numel() + meta["zero"].numel())
    return Quantizer.dequantize(coded, meta).float(), bits


def _bitsandbytes(weight: Tensor, kind: str, block: int, double: bool) -> tuple[Tensor, int]:
    from bitsandbytes import functional

    coded, state = functional.quantize_4bit(
        weight.clone(), blocksize=block, quant_type=kind, compress_statistics=double
    )
    bits = _size(coded, state.absmax)
    if double:
        bits += _size(state.state2.absmax) + 32
    return functional.dequantize_4bit(coded, state).float(), bits


def _quanto(weight: Tensor, kind: str, optimizer: str) -> tuple[Tensor, int]:
    from optimum import quanto

    layer = nn.Linear(weight.shape[1], weight.shape[0], bias=False, dtype=torch.bfloat16)
    layer.weight.data.copy_(weight)
    holder = nn.Sequential(layer)
    chosen = {"max": None, "hqq": quanto.HqqOptimizer()}[optimizer]
    quanto.quantize(holder, weights=getattr(quanto, kind), **({"optimizer": chosen} if chosen else {}))
    quanto.freeze(holder)
    kept = holder[0].weight
    data = kept._data
    inner = getattr(data, "_data", data)
    # A type packed for one product keeps scale and shift in one tensor.
    others = (getattr(kept, name, None) for name in ("_scale", "_shift", "_scale_shift"))
    return kept.dequantize().float(), _size(inner, *others)


def _torchao(weight: Tensor, name: str) -> tuple[Tensor, int]:
    from torchao import quantization as ao

    layer = nn.Linear(weight.shape[1], weight.shape[0], bias=False, dtype=torch.bfloat16)
    layer.weight.data.copy_(weight)
    if name == "int8":
        config: Any = ao.Int8WeightOnlyConfig()
    elif name == "int4 tiled":
        config = ao.Int4WeightOnlyConfig(group_size=32)
    else:
        width = getattr(torch, f"int{name[4]}")
        config = ao.IntxWeightOnlyConfig(weight_dtype=width, granularity=ao.PerGroup(32))
    holder = nn.Sequential(layer)
    ao.quantize_(holder, config)
    kept = holder[0].weight
    names = [n for n in getattr(kept, "tensor_data_names", ()) if isinstance(getattr(kept, n, None), Tensor)]
    return kept.dequantize().float(), _size(*(getattr(kept, n) for n in names))


GGUF_NAMES = {
    "input_layernorm": "attn_norm",
    "post_attention_layernorm": "ffn_norm",
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
}


def _gguf_name(layer: str) -> str:
    number, _, rest = layer.removeprefix("model.layers.").partition(".")
    return f"blk.{number}.{GGUF_NAMES[rest]}.weight"


def _llama() -> Iterator[Contestant]:
    for kinds, calibrated in ((LLAMA_FREE, False), (LLAMA_CALIBRATED, True)):
        for kind in kinds:
            for pure in (False, True) if kind in PURE else (False,):
                name = kind + (" pure" if pure else "") + (" imatrix" if calibrated else "")
                yield Contestant(
                    peer="llama.cpp",
                    name=name,
                    calibrated=calibrated,
                    make=partial(_llama_made, kind=kind, calibrated=calibrated, pure=pure),
                )


def _llama_made(given: Given, *, kind: str, calibrated: bool, pure: bool) -> Made:
    import gguf

    if given.llama_quantize is None:
        return Made(reason="llama-quantize was not given")
    with tempfile.TemporaryDirectory() as place:
        source, out = Path(place) / "f32.gguf", Path(place) / "out.gguf"
        write_gguf(given, source)
        # Embedding and output layer stay in 16 bits, as in every contestant here.
        command = [str(given.llama_quantize), "--token-embedding-type", "f16", "--output-tensor-type", "f16"]
        command += ["--pure"] if pure else []
        if calibrated:
            write_imatrix(given, Path(place) / "imatrix.dat")
            command += ["--imatrix", str(Path(place) / "imatrix.dat")]
        done = subprocess.run([*command, str(source), str(out), kind, "1"], capture_output=True, text=True)
        if done.returncode or not out.exists():
            lines = (done.stderr + done.stdout).strip().splitlines()
            return Made(reason="refused: " + (lines[-1] if lines else f"exit code {done.returncode}"))
        tensors = {t.name: t for t in gguf.GGUFReader(out).tensors}
        made, bits = {}, 0
        for layer in given.weights:
            tensor = tensors[_gguf_name(layer)]
            values = gguf.dequantize(tensor.data, tensor.tensor_type)
            made[layer] = torch.from_numpy(np.array(values, dtype=np.float32))
            bits += 8 * int(tensor.n_bytes)
    return Made(weights=made, bits=bits)


def write_gguf(given: Given, out: Path) -> None:
    """The model for llama-quantize, without a vocabulary.

    Rows of queries and keys stay in their own order, since only Transformers computes with the result. Blocks
    run along rows, so the order of rows changes nothing.
    """
    import json

    import gguf

    config = json.loads((given.folder / "config.json").read_text())
    writer = gguf.GGUFWriter(out, "llama")
    heads = config["num_attention_heads"]
    writer.add_context_length(config["max_position_embeddings"])
    writer.add_embedding_length(config["hidden_size"])
    writer.add_block_count(config["num_hidden_layers"])
    writer.add_feed_forward_length(config["intermediate_size"])
    writer.add_head_count(heads)
    writer.add_head_count_kv(config["num_key_value_heads"])
    writer.add_rope_dimension_count(config["hidden_size"] // heads)
    writer.add_layer_norm_rms_eps(config["rms_norm_eps"])
    writer.add_vocab_size(config["vocab_size"])
    writer.add_file_type(gguf.LlamaFileType.ALL_F32)
    writer.add_tokenizer_model("no_vocab")
    hidden = config["hidden_size"]
    writer.add_tensor("token_embd.weight", np.zeros((config["vocab_size"], hidden), dtype=np.float32))
    writer.add_tensor("output_norm.weight", np.ones(hidden, dtype=np.float32))
    for layer, weight in given.weights.items():
        writer.add_tensor(_gguf_name(layer), weight.numpy())
    for number in range(config["num_hidden_layers"]):
        for norm in ("attn_norm", "ffn_norm"):
            writer.add_tensor(f"blk.{number}.{norm}.weight", np.ones(hidden, dtype=np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def write_imatrix(given: Given, out: Path) -> None:
    """Mean squares of inputs in llama.cpp's first format: they are what `llama-imatrix` collects."""
    squares = given.squares()
    with out.open("wb") as file:
        file.write(np.int32(len(squares)).tobytes())
        for layer, square in squares.items():
            name = _gguf_name(layer).encode()
            file.write(np.int32(len(name)).tobytes() + name)
            file.write(np.array([1, len(square)], dtype=np.int32).tobytes())
            file.write(square.float().numpy().tobytes())
