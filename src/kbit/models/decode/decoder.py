"""A Llama-like model as the core decodes with it: one call a step, on the weights the model already holds."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from kbit import _core
from kbit.errors import ModelError
from kbit.kernels import NUMERICS, core
from kbit.models.adapter import has_adapter
from kbit.models.embedding import KbitEmbedding, KbitTiedHead
from kbit.models.linear import KbitLinear
from kbit.models.numerics import numerics_of

SERVED = ("llama", "mistral", "qwen2", "qwen3")
"""Model types whose layers are: RMSNorm, rotary attention with grouped heads, SwiGLU."""

PANEL = core.MOST_ROWS
"""Tokens of a step, and those of a prompt that share one pass over the weights."""

LONG_PANEL = 512
"""The same where products of many rows run: decoding a weight then costs little beside its products, and what
layers hand on still lies in the cache."""

CACHE_BITS = (8, 16, 32)

# Frequencies that change with the length of the text; the others are a table of places.
_MOVING_ROTARY = ("dynamic", "longrope")


def unserved(model: Any) -> str | None:
    """Why the core cannot decode with this model; None where it can.

    Args:
        model: a causal language model of Transformers, k-bit or not.
    """
    config = model.config
    if config.model_type not in SERVED:
        return f"the core's step serves {', '.join(SERVED)}; this is {config.model_type}"
    if model.device.type != "cpu":
        return f"the core's step runs on a CPU; the model is on {model.device}"
    if model.dtype not in (torch.float32, torch.bfloat16):
        return f"the core's step computes in float32 or bfloat16; the model is {model.dtype}"
    if numerics_of(model) not in NUMERICS:
        return f"its layers differ in numerics ({numerics_of(model)})"
    if config.hidden_act != "silu":
        return f"the core's step has SwiGLU; the model's activation is {config.hidden_act}"
    kind = (getattr(config, "rope_parameters", None) or {}).get("rope_type", "default")
    if kind in _MOVING_ROTARY:
        return f"the model's rotary scaling ({kind}) depends on the length of the text"
    if has_adapter(model):
        return "the model has an adapter beside its layers; merged, the core would serve it"
    for name, module in model.named_modules():
        if isinstance(module, KbitLinear) and module.inputs is not None:
            return f"{name} changes its inputs (rotation, order or inputs kept in 16 bits)"
        if isinstance(module, KbitLinear | KbitEmbedding) and module.record.format.datatype.window:
            return f"{name} is trellis-coded ({module.record.format})"
        known = (KbitLinear, KbitEmbedding, KbitTiedHead)
        if isinstance(module, nn.Linear | nn.Embedding) and not isinstance(module, known):
            if type(module) not in (nn.Linear, nn.Embedding):
                return f"{name} is a {type(module).__name__}"
            if module.weight.dtype not in (torch.float32, torch.bfloat16):
                return f"{name} is {module.weight.dtype}"
    return None


class CoreDecoder:
    """A model's step in the core, with a cache of keys and values for one or more texts.

    Activations are float32 between products; products round them to bfloat16 for a bfloat16 model, or to
    8 bits in blocks where the model was loaded with numerics `a8`. Nothing of the model is copied but its
    norms and biases.

    Args of the constructor:
        model: one that `unserved` has nothing against.
        room: tokens a text may have, prompt and new ones.
        texts: decoded side by side.
        cache_bits: 32, 16 (bfloat16), or 8 (each key and value with a scale of its own); that of the model's
            type where None.

    Raises:
        ModelError: the model is not served; the message says why.
    """

    def __init__(self, model: Any, *, room: int, texts: int = 1, cache_bits: int | None = None) -> None:
        reason = unserved(model)
        if reason is not None:
            raise ModelError(f"{reason}: generate through Transformers instead.")
        cache_bits = 8 * model.dtype.itemsize if cache_bits is None else cache_bits
        if cache_bits not in CACHE_BITS:
            raise ModelError(f"a cache holds keys and values in 8, 16 or 32 bits, given {cache_bits}.")
        if room < 1 or texts < 1:
            raise ModelError(f"room for {room} tokens of {texts} texts: both must be at least 1.")
        self.room, self.texts, self.vocabulary = room, texts, int(model.config.vocab_size)
        self.lengths = [0] * texts
        self._kept: list[Any] = [model]  # what the core reads by address
        kinds = {"a8": "a8", "a16": "f32" if model.dtype == torch.float32 else "bf16"}
        self._core = self._build(model, kinds[numerics_of(model)])
        config = model.config
        heads, width = int(config.num_key_value_heads), _head_width(config)
        self._cache = _core.Cache(len(model.model.layers), heads, width, texts, room, cache_bits)
        self._cos, self._sin = _rotary(model, room)

    @property
    def cache_bytes(self) -> int:
        """Bytes of the cache."""
        return self._cache.bytes

    def step(
        self,
        tokens: Sequence[int],
        texts: Sequence[int] | None = None,
        *,
        wanted: Sequence[bool] | None = None,
    ) -> Tensor:
        """Append tokens to texts, and give what may follow them.

        Args:
            tokens: at most `PANEL` of them.
            texts: which text each belongs to; 0 where None. Several tokens of one text stand in order.
            wanted: whose logits are needed; all where None. The rest are not computed.

        Returns:
            Logits [tokens, vocabulary], float32; rows not wanted are undefined.

        Raises:
            ModelError: a text has no room left.
        """
        texts = [0] * len(tokens) if texts is None else texts
        wanted = [True] * len(tokens) if wanted is None else wanted
        for text in set(texts):
            self._check_room(text, list(texts).count(text))
        places = []
        for text in texts:
            places.append(self.lengths[text])
            self.lengths[text] += 1
        logits = torch.empty(len(tokens), self.vocabulary)
        self._core.step(
            self._cache,
            np.asarray(tokens, np.int64),
            np.asarray(texts, np.int64),
            np.asarray(places, np.int64),
            np.asarray(wanted, np.uint8),
            self._cos.data_ptr(),
            self._sin.data_ptr(),
            self._cos.shape[0],
            logits.data_ptr(),
            torch.get_num_threads(),
        )
        return logits

    def read(self, tokens: Sequence[int], text: int = 0) -> Tensor:
        """Append a prompt in panels, and give the logits [vocabulary] of what follows it."""
        if not tokens:
            raise ModelError("a prompt has at least one token.")
        if len(tokens) > PANEL and self._core.reads:
            return self._read_long(tokens, text)
        for start in range(0, len(tokens), PANEL):
            panel = list(tokens[start : start + PANEL])
            last = start + PANEL >= len(tokens)
            wanted = [False] * (len(panel) - 1) + [last]
            logits = self.step(panel, [text] * len(panel), wanted=wanted)
        return logits[-1]

    def _read_long(self, tokens: Sequence[int], text: int) -> Tensor:
        """The same on products of many rows: each weight is decoded once for `LONG_PANEL` tokens."""
        self._check_room(text, len(tokens))
        logits = torch.empty(self.vocabulary)
        for start in range(0, len(tokens), LONG_PANEL):
            panel = tokens[start : start + LONG_PANEL]
            last = start + LONG_PANEL >= len(tokens)
            self._core.read(
                self._cache,
                np.asarray(panel, np.int64),
                text,
                self.lengths[text],
                self._cos.data_ptr(),
                self._sin.data_ptr(),
                self._cos.shape[0],
                logits.data_ptr() if last else 0,
                torch.get_num_threads(),
            )
            self.lengths[text] += len(panel)
        return logits

    def _check_room(self, text: int, count: int) -> None:
        if self.lengths[text] + count > self.room:
            raise ModelError(
                f"text {text} has {self.lengths[text]} of at most {self.room} tokens: there is no room for "
                f"{count} more."
            )

    def rewind(self, length: int, text: int = 0) -> None:
        """Forget the tokens of a text from `length` on."""
        if not 0 <= length <= self.lengths[text]:
            raise ModelError(f"text {text} has {self.lengths[text]} tokens; it cannot go back to {length}.")
        self.lengths[text] = length

    def _build(self, model: Any, numerics: str) -> "_core.Decoder":
        config, body = model.config, model.model
        width = _head_width(config)
        made = _core.Decoder(
            layers=len(body.layers),
            hidden=config.hidden_size,
            heads=config.num_attention_heads,
            key_heads=config.num_key_value_heads,
            head_width=width,
            intermediate=config.intermediate_size,
            vocabulary=config.vocab_size,
            eps=config.rms_norm_eps,
            scale=width**-0.5,
            norm=self._vector(body.norm.weight),
            numerics=numerics,
        )
        self._set(made, -1, "embedding", body.embed_tokens)
        self._set(made, -1, "head", model.lm_head)
        for number, layer in enumerate(body.layers):
            attention, mlp = layer.self_attn, layer.mlp
            for name in ("q", "k", "v", "o"):
                self._set(made, number, name, getattr(attention, f"{name}_proj"))
            for name in ("gate", "up", "down"):
                self._set(made, number, name, getattr(mlp, f"{name}_proj"))
            norms = {
                key: self._vector(getattr(attention, key).weight)
                for key in ("q_norm", "k_norm")
                if getattr(attention, key, None) is not None
            }
            made.set_layer(
                number,
                attention_norm=self._vector(layer.input_layernorm.weight),
                mlp_norm=self._vector(layer.post_attention_layernorm.weight),
                window=_window(config, attention),
                **norms,
            )
        return made

    def _vector(self, values: Tensor) -> int:
        copy = values.detach().float().contiguous()
        self._kept.append(copy)
        return copy.data_ptr()

    def _set(self, made: "_core.Decoder", layer: int, name: str, module: Any) -> None:
        bias = getattr(module, "bias", None)
        where = 0 if bias is None else self._vector(bias)
        if isinstance(module, KbitTiedHead):
            module = module._embedding
        if isinstance(module, KbitLinear | KbitEmbedding):
            weight = core.prepared(module.packed)
            self._kept.append(weight)
            rows, cols = module.packed.shape
            made.set_linear(layer, name, "packed", weight.address, rows, cols, where)
            return
        dense = module.weight.detach()
        if not dense.is_contiguous():
            dense = dense.contiguous()
        self._kept.append(dense)
        kind = "bf16" if dense.dtype == torch.bfloat16 else "f32"
        made.set_linear(layer, name, kind, dense.data_ptr(), dense.shape[0], dense.shape[1], where)


def _window(config: Any, attention: Any) -> int:
    """Tokens that a layer sees; 0 means all. Mistral's is the model's, Qwen's the layer's own."""
    holder = config if config.model_type == "mistral" else attention
    return int(getattr(holder, "sliding_window", None) or 0)


def _head_width(config: Any) -> int:
    return int(getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads)


def _rotary(model: Any, room: int) -> tuple[Tensor, Tensor]:
    """Cosines and sines of places 0 to room - 1, [room, head width], as the model computes them."""
    like = torch.zeros(1, dtype=torch.float32)
    cos, sin = model.model.rotary_emb(like, torch.arange(room)[None])
    width = _head_width(model.config)
    if cos.shape[-1] != width:
        raise ModelError(f"rotary positions of {cos.shape[-1]} of {width} values are not served.")
    if not math.isfinite(float(cos.sum())):
        raise ModelError("the model's rotary positions are not numbers.")
    return cos[0].float().contiguous(), sin[0].float().contiguous()
