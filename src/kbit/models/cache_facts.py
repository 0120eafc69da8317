"""What a model's config says about the memory that generation needs beside the weights."""

from collections.abc import Mapping
from typing import Any

# fact -> names that configs of different architectures give it, the surest first
NAMES: Mapping[str, tuple[str, ...]] = {
    "layers": ("num_hidden_layers", "n_layer", "num_layers", "n_layers"),
    "heads": ("num_attention_heads", "n_head", "num_heads", "n_heads"),
    "hidden_size": ("hidden_size", "n_embd", "d_model"),
    "intermediate_size": ("intermediate_size", "n_inner", "ffn_dim", "ffn_hidden_size"),
    "vocab_size": ("vocab_size",),
    "max_context": ("max_position_embeddings", "n_positions", "max_sequence_length", "n_ctx", "seq_length"),
}


CORE_STEP = ("llama", "mistral", "qwen2", "qwen3")
"""Model types that the core's step decodes (`kbit.models.decode`), where nothing else speaks against it."""
_MOVING_ROTARY = ("dynamic", "longrope")


def cache_facts(config: Mapping[str, Any]) -> dict[str, int | None]:
    """Sizes that a key-value cache and its working space follow from.

    A fact the config does not hold is None, never a guess. Grouped heads are read from
    `num_key_value_heads` (or Falcon's `multi_query`); without them every attention head has its own keys.

    Args:
        config: the content of `config.json`; a `text_config` inside it is used where there is one.

    Returns:
        `layers`, `heads`, `kv_heads`, `head_dim`, `hidden_size`, `intermediate_size`, `vocab_size`,
        `max_context` (tokens), `sliding_window` (tokens, of the layers that have one), `sliding_layers`
        (how many those are), `shared_kv_layers` (layers that reuse the cache of another) and `core_step` (1
        where `kbit generate` takes the core's step, as far as a config tells).

    >>> facts = cache_facts({"num_hidden_layers": 2, "num_attention_heads": 4, "hidden_size": 64,
    ...                      "num_key_value_heads": 2, "vocab_size": 512, "max_position_embeddings": 128})
    >>> facts["kv_heads"], facts["head_dim"], facts["intermediate_size"]
    (2, 16, None)
    """
    text = config.get("text_config")
    source: Mapping[str, Any] = text if isinstance(text, Mapping) else config
    found = {fact: _first(source, names) for fact, names in NAMES.items()}
    heads, hidden = found["heads"], found["hidden_size"]
    head_dim = _first(source, ("head_dim",))
    if head_dim is None and heads and hidden:
        head_dim = hidden // heads
    kv_heads = _first(source, ("num_key_value_heads", "num_kv_heads"))
    if kv_heads is None:
        kv_heads = 1 if source.get("multi_query") is True else heads
    intermediate = found["intermediate_size"]
    if intermediate is None and hidden and source.get("model_type") in ("gpt2", "falcon", "bloom", "gptj"):
        intermediate = 4 * hidden  # these architectures define it so when the config is silent
    window, sliding = _sliding(source, found["layers"])
    return {
        "layers": found["layers"],
        "heads": heads,
        "kv_heads": kv_heads,
        "head_dim": head_dim,
        "hidden_size": hidden,
        "intermediate_size": intermediate,
        "vocab_size": found["vocab_size"],
        "max_context": found["max_context"],
        "sliding_window": window,
        "sliding_layers": sliding,
        "shared_kv_layers": _first(source, ("num_kv_shared_layers",)) or 0,
        "core_step": int(_core_serves(source)),
    }


def _core_serves(config: Mapping[str, Any]) -> bool:
    """Whether `kbit generate` takes the core's step, as far as a config tells."""
    rotary = config.get("rope_parameters") or config.get("rope_scaling")
    kind = rotary.get("rope_type", rotary.get("type")) if isinstance(rotary, Mapping) else None
    return (
        config.get("model_type") in CORE_STEP
        and config.get("hidden_act", "silu") == "silu"
        and kind not in _MOVING_ROTARY
    )


def _first(config: Mapping[str, Any], names: tuple[str, ...]) -> int | None:
    for name in names:
        value = config.get(name)
        if isinstance(value, int) and not isinstance(value, bool) and value > 0:
            return value
    return None


def _sliding(config: Mapping[str, Any], layers: int | None) -> tuple[int | None, int]:
    """The window, and how many layers look no further back than it."""
    window = _first(config, ("sliding_window",))
    if window is None or layers is None or config.get("use_sliding_window") is False:
        return None, 0
    kinds = config.get("layer_types")
    if isinstance(kinds, list):
        return window, sum(kind == "sliding_attention" for kind in kinds)
    pattern = _first(config, ("sliding_window_pattern",))
    if pattern is not None:
        return window, layers - layers // pattern  # every pattern-th layer looks at everything
    first_full = config.get("max_window_layers")
    if config.get("use_sliding_window") is True and isinstance(first_full, int):
        return window, max(0, layers - first_full)  # Qwen2: the layers from this one on slide
    return window, layers
