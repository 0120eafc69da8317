"""Which units a layer's inputs are, for the outlier proxy."""

import pytest
import torch

from kbit.errors import UsageError
from kbit.formats import parse_format
from kbit.models.record import LayerRecord, Method
from kbit.quantize.inputs import change_inputs, record_inputs
from kbit.quantize.previous_layer import input_spread

CONFIG = {"num_attention_heads": 4}


def spread(name: str, columns: int, weights: dict[str, torch.Tensor]) -> torch.Tensor:
    return input_spread(name, columns, CONFIG, "embed", weights.__getitem__, weights)


def std(rows: torch.Tensor) -> torch.Tensor:
    return rows.double().std(dim=1, correction=0)


def test_each_layer_has_its_predecessor() -> None:
    g = torch.Generator().manual_seed(0)
    llama = {
        "m.0.mlp.up_proj": torch.randn(12, 8, generator=g),
        "m.0.mlp.down_proj": torch.randn(8, 12, generator=g),
        "m.0.self_attn.o_proj": torch.randn(8, 8, generator=g),
        "m.0.self_attn.v_proj": torch.randn(4, 8, generator=g),  # two of four heads, each of two units
        "embed": torch.randn(30, 8, generator=g),
    }
    assert torch.equal(spread("m.1.self_attn.q_proj", 8, llama), std(llama["m.0.mlp.down_proj"]))
    assert torch.equal(spread("m.0.self_attn.k_proj", 8, llama), std(llama["embed"].T))
    assert torch.equal(spread("m.0.mlp.gate_proj", 8, llama), std(llama["m.0.self_attn.o_proj"]))
    assert torch.equal(spread("m.0.mlp.down_proj", 12, llama), std(llama["m.0.mlp.up_proj"]))
    shared = std(llama["m.0.self_attn.v_proj"])
    assert torch.equal(spread("m.0.self_attn.o_proj", 8, llama), shared[[0, 1, 0, 1, 2, 3, 2, 3]])


def test_joint_projections_give_their_values() -> None:
    g = torch.Generator().manual_seed(1)
    joint = torch.randn(24, 8, generator=g)
    gpt2, neox = {"h.0.attn.c_attn": joint}, {"l.0.attention.query_key_value": joint}
    assert torch.equal(spread("h.0.attn.c_proj", 8, gpt2), std(joint[16:]))
    values = [6 * head + 4 + i for head in range(4) for i in range(2)]  # each head: query, key, value
    assert torch.equal(spread("l.0.attention.dense", 8, neox), std(joint[values]))


def test_what_is_unknown_is_refused() -> None:
    with pytest.raises(UsageError, match="knows Llama-, OPT-"):
        spread("h.0.mixer.in_proj", 8, {})
    with pytest.raises(UsageError, match=r"mlp.down_proj or fc2"):
        spread("m.1.self_attn.q_proj", 8, {})
    with pytest.raises(UsageError, match="finds 5 units"):
        spread("m.0.self_attn.q_proj", 8, {"embed": torch.zeros(9, 5)})


def test_the_widest_units_are_kept() -> None:
    fmt = parse_format("int3:b64")
    record = LayerRecord(
        name="a", shape=(5, 40), role="linear", format=fmt, method=Method(name="proxy10", version=1)
    )
    record = record_inputs(record, "proxy10", torch.float16)
    assert (record.kept_inputs, record.kept_type) == (4, "fp16")
    weight = torch.randn(5, 40)
    wide = torch.ones(40)
    wide[[7, 30, 2, 19]] = torch.tensor([2.0, 3.0, 4.0, 5.0])
    changed = change_inputs(record, weight, wide)
    assert changed.parts["kept_columns"].tolist() == [2, 7, 19, 30]
    assert torch.equal(changed.parts["kept_weights"], weight[:, [2, 7, 19, 30]].half())
    assert changed.weight.shape == (5, 36)
    assert record_inputs(record, "nearest", torch.bfloat16) == record
