"""Memory, item by item, against figures worked out by hand and published ones."""

import pytest

from kbit.advise import memory_of
from kbit.errors import UsageError
from kbit.models.cache_facts import cache_facts

LLAMA_2_7B = {
    "num_hidden_layers": 32, "num_attention_heads": 32, "num_key_value_heads": 32, "hidden_size": 4096,
    "intermediate_size": 11008, "vocab_size": 32000, "max_position_embeddings": 4096,
}  # fmt: skip
LLAMA_3_8B = {**LLAMA_2_7B, "num_key_value_heads": 8, "intermediate_size": 14336, "vocab_size": 128256}
SERVED = {**LLAMA_3_8B, "model_type": "llama"}


def row(config, stored_bits=8e9, **more):
    return {"stored_bits": stored_bits, **cache_facts(config), **more}


def test_llama_2_7b_keeps_half_a_mebibyte_a_token():
    # 2 (keys, values) x 32 layers x 4096 x 2 bytes = 524288: 2 GiB at 4096 tokens, as its papers say
    memory = memory_of(row(LLAMA_2_7B), context=4096)
    assert memory.kv_bytes_per_token == 524_288
    assert memory.kv_bytes == 2 * 2**30
    assert memory.weights_bytes == 1e9
    mlp = 3 * 4096 + 3 * 11008 + 2 * 128  # wider than attention's 2·4096 + (4·32 + 2·32 + 2)·128
    assert memory.working_bytes == 4096 * mlp * 2 + 32000 * 8 + 1024 * (60 + 50 * 32)
    assert memory.total_bytes == memory.weights_bytes + memory.kv_bytes + memory.working_bytes


def test_grouped_heads_batch_and_cache_bits_scale_the_cache():
    base = memory_of(row(LLAMA_2_7B), context=100)
    assert memory_of(row(LLAMA_3_8B), context=100).kv_bytes == base.kv_bytes / 4
    assert memory_of(row(LLAMA_2_7B), context=100, batch=3).kv_bytes == 3 * base.kv_bytes
    objects = 1024 * (60 + 50 * 32)  # of Python, whatever the batch
    three = memory_of(row(LLAMA_2_7B), context=100, batch=3).working_bytes
    assert three - objects == 3 * (base.working_bytes - objects)
    assert memory_of(row(LLAMA_2_7B), context=100, kv_bits=4).kv_bytes == base.kv_bytes / 4


def test_sliding_layers_stop_growing_at_their_window_and_shared_layers_keep_nothing():
    config = {
        **LLAMA_2_7B,
        "sliding_window": 512,
        "layer_types": ["sliding_attention"] * 24 + ["full_attention"] * 8,
    }
    layer = 2 * 4096 * 2
    assert memory_of(row(config), context=4096).kv_bytes == layer * (8 * 4096 + 24 * 512)
    assert memory_of(row(config), context=256).kv_bytes == layer * 32 * 256
    shared = {**LLAMA_2_7B, "num_kv_shared_layers": 12}
    assert memory_of(row(shared), context=10).kv_bytes == layer * 20 * 10


def test_gpt2_names_and_multi_query():
    gpt2 = cache_facts({"model_type": "gpt2", "n_layer": 12, "n_head": 12, "n_embd": 768, "n_positions": 1024,
                        "n_inner": None, "vocab_size": 50257})  # fmt: skip
    assert (gpt2["layers"], gpt2["kv_heads"], gpt2["head_dim"], gpt2["intermediate_size"]) == (
        12,
        12,
        64,
        3072,
    )
    assert gpt2["max_context"] == 1024
    falcon = cache_facts({"num_hidden_layers": 32, "num_attention_heads": 71, "hidden_size": 4544,
                          "multi_query": True})  # fmt: skip
    assert (falcon["kv_heads"], falcon["head_dim"]) == (1, 64)
    assert falcon["vocab_size"] is None


def test_gemma_and_qwen_sliding_patterns():
    base = {"num_hidden_layers": 12, "num_attention_heads": 4, "hidden_size": 64, "sliding_window": 128}
    assert cache_facts({**base, "sliding_window_pattern": 6})["sliding_layers"] == 10
    assert cache_facts({**base, "use_sliding_window": False})["sliding_window"] is None
    assert cache_facts({**base, "use_sliding_window": True, "max_window_layers": 9})["sliding_layers"] == 3
    assert cache_facts({"text_config": base, "vision_config": {}})["layers"] == 12


def test_a_missing_fact_is_unknown_memory_not_zero():
    assert memory_of(row({"num_hidden_layers": 2}), context=10) is None
    assert memory_of({**row(LLAMA_2_7B), "stored_bits": None}, context=10) is None


@pytest.mark.parametrize(
    "option", [{"context": 0}, {"context": 8, "batch": 0}, {"context": 8, "kv_bits": -1}]
)
def test_sizes_must_be_positive(option):
    with pytest.raises(UsageError, match="must be positive"):
        memory_of(row(LLAMA_2_7B), **option)


def test_packed_weights_need_their_kernel_s_space_and_attention_may_be_widest():
    dense, packed = (memory_of(row(LLAMA_2_7B, format=f), context=8) for f in ("bf16", "nf4:b64"))
    from kbit.advise.workspace import kernel_bytes

    space = kernel_bytes("nf4:b64", largest_matrix=4096 * 11008)
    objects = 1024 * (50 + 30 * 32)
    assert packed.working_bytes - dense.working_bytes == space + objects
    assert kernel_bytes("nf4:b64", largest_matrix=10) <= 20  # never more than the matrix, decoded
    assert kernel_bytes("bf16", largest_matrix=10**9) == kernel_bytes("no-such", largest_matrix=10**9) == 0
    narrow = {**LLAMA_2_7B, "intermediate_size": 1024}
    attention = 2 * 4096 + (4 * 32 + 2 * 32 + 2) * 128
    tokens = memory_of(row(narrow), context=9).working_bytes - memory_of(row(narrow), context=8).working_bytes
    assert tokens == attention * 2


def test_the_core_keeps_the_arrays_of_one_panel_and_one_layer_s_keys(monkeypatch):
    monkeypatch.setattr("kbit.advise.memory._long_products", lambda: True)
    hidden, inner, width, heads, kv_heads, layers, vocabulary = 4096, 14336, 128, 32, 8, 32, 128256
    # csrc/decode/reader.cpp: float32 x and queries; bfloat16 y, q, k, v, mixed, gate, above
    floats, halves = hidden + heads * width, hidden + 2 * heads * width + 2 * kv_heads * width + 2 * inner
    keys_and_values, tables = 2 * kv_heads * width * 4, 2 * width * 4

    def working(context):
        found = memory_of(row(SERVED), context=context, engine="core")
        assert found.engine == "core"
        return found.working_bytes

    panel = 4 * floats + 2 * halves
    assert working(101) - working(100) == panel + keys_and_values + tables
    assert working(8192) - working(8191) == keys_and_values + tables
    start = working(1) - panel - keys_and_values - tables
    assert start == 8 * vocabulary + 16 * keys_and_values + 1024 * (40 + 45 * layers)
    assert working(600) == start + 512 * panel + 600 * (keys_and_values + tables)


def test_auto_is_what_generate_takes_and_the_core_s_small_cache_has_scales():
    assert memory_of(row(SERVED), context=64).engine == "core"
    assert memory_of(row(SERVED), context=64, engine="transformers").engine == "transformers"
    assert memory_of(row(SERVED), context=64, kv_bits=4).engine == "transformers"  # no such cache in the core
    moving = {**SERVED, "rope_scaling": {"rope_type": "dynamic", "factor": 2.0}}
    assert memory_of(row(moving), context=64).engine == "transformers"
    assert memory_of(row({**SERVED, "model_type": "gemma"}), context=64).engine == "transformers"
    eight = memory_of(row(SERVED), context=64, kv_bits=8)
    assert eight.kv_bytes == 64 * 32 * 2 * 8 * (128 + 4)  # a byte a number, a float32 scale a head
    with pytest.raises(UsageError, match="did you mean 'core'"):
        memory_of(row(SERVED), context=64, engine="cor")


def test_the_core_s_model_types_are_those_of_its_decoder():
    from kbit.models.cache_facts import _MOVING_ROTARY, CORE_STEP
    from kbit.models.decode import decoder

    assert set(CORE_STEP) == set(decoder.SERVED)
    assert set(_MOVING_ROTARY) == set(decoder._MOVING_ROTARY)
