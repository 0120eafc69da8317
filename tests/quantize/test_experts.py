"""A mixture's experts, one tensor in Transformers: packed one by one, calibrated, mixed, and put together."""

import pytest
import torch
from safetensors.torch import load_file, save_file

from kbit.models import KbitLinear, load, open_model, stored_bits
from kbit.models.experts import Experts, is_fused, unfuse
from kbit.quantize import Calibration, quantize_model
from kbit.quantize.mixed.plan import plan_mixed

TOKENS = torch.tensor([[1, 5, 99, 5, 42, 7, 100, 3]])


def logits(folder):
    with torch.no_grad():
        return load(folder, dtype=torch.float32)(TOKENS).logits


def calibration():
    generator = torch.Generator().manual_seed(0)
    windows = tuple(torch.randint(3, 101, (40,), generator=generator) for _ in range(8))
    return Calibration(kind="text", windows=windows, documents=("d",), hash="h", seed=0, context=40)


@pytest.fixture(params=["mixtral", "qwen2_moe"])
def source(request, tiny, tmp_path):
    return tiny.write_model(tmp_path / "model", request.param)


def test_taken_apart_they_compute_the_same(tiny):
    model = tiny.make_model("qwen2_moe", dtype=torch.float32)
    with torch.no_grad():
        before = model(TOKENS).logits
        unfuse(model)
        assert sum(isinstance(m, Experts) for m in model.modules()) == 2
        torch.testing.assert_close(model(TOKENS).logits, before, rtol=1e-5, atol=1e-6)


def test_a_checkpoint_with_one_tensor_of_experts_gives_the_same_codes(tiny, tmp_path):
    model = tiny.make_model("qwen2_moe")
    model.save_pretrained(tmp_path / "apart")
    model.config.save_pretrained(tmp_path / "fused")
    state = {name: tensor.contiguous() for name, tensor in model.state_dict().items()}
    assert state["model.layers.0.mlp.experts.gate_up_proj"].shape == (3, 48, 32)
    save_file(state, tmp_path / "fused" / "model.safetensors", {"format": "pt"})
    made = []
    for kind in ("apart", "fused"):
        quantize_model(tmp_path / kind, tmp_path / f"{kind}-k", format="nf3:b16")
        made.append(load_file(tmp_path / f"{kind}-k" / "model.safetensors"))
    assert made[0].keys() == made[1].keys()
    assert all(torch.equal(made[0][name], made[1][name]) for name in made[0])
    assert "model.layers.1.mlp.experts.2.up_proj.codes" in made[0]


def test_no_expert_stays_in_16_bits_and_bits_are_counted(source, tmp_path, independent):
    report = quantize_model(source, tmp_path / "out", format="nf4:b16")
    assert not any("experts" in kept.name for kept in report.kept)
    assert report.stored_bits.whole == 8 * independent.data_bytes(tmp_path / "out")
    model = load(tmp_path / "out")
    assert not any(is_fused(module) for module in model.modules())
    experts = [m for m in model.modules() if isinstance(m, Experts)]
    assert sum(isinstance(m, KbitLinear) for e in experts for m in e.modules()) == 2 * 3 * 3


def test_saved_again_and_dense_again_the_logits_stay(source, tmp_path):
    quantize_model(source, tmp_path / "out", format="nf4:b16")
    before = logits(tmp_path / "out")
    load(tmp_path / "out").save_pretrained(tmp_path / "again")
    torch.testing.assert_close(logits(tmp_path / "again"), before, rtol=0, atol=0)
    assert stored_bits(tmp_path / "again") == stored_bits(tmp_path / "out")
    with torch.no_grad():
        dense = load(tmp_path / "out", dtype=torch.float32).dequantize()
        assert any(is_fused(module) for module in dense.modules())
        torch.testing.assert_close(dense(TOKENS).logits, before, rtol=1e-4, atol=1e-5)


def test_one_kept_expert_keeps_all_of_its_layer(source, tmp_path):
    report = quantize_model(source, tmp_path / "out", format="nf4:b16", keep=["*.layers.0.*experts.1.*"])
    records = open_model(tmp_path / "out").records
    assert not any(".layers.0." in name and "experts" in name for name in records)
    assert sum(".layers.1." in name and ".experts." in name for name in records) == 9
    assert {k.reason for k in report.kept if "experts" in k.name} == {"asked for"}
    assert torch.isfinite(logits(tmp_path / "out")).all()


def test_calibration_reaches_experts(source, tmp_path):
    text = calibration()
    report = quantize_model(source, tmp_path / "gptq", format="uint3:b16", method="gptq", calibration=text)
    experts = {name: note for name, note in report.notes.items() if ".experts." in name}
    assert len(experts) == 18
    assert sum(n.error for n in experts.values()) < sum(n.nearest_error for n in experts.values())
    quantize_model(source, tmp_path / "nearest", format="uint3:b16")
    wanted = logits(source)
    distance = {kind: (logits(tmp_path / kind) - wanted).norm() for kind in ("gptq", "nearest")}
    assert 0 < distance["gptq"] < distance["nearest"]


@pytest.mark.parametrize("text", [None, calibration()], ids=["predicted", "measured"])
def test_a_mix_gives_experts_formats_of_their_own(source, tmp_path, text):
    formats = ("uint2:b16:q8", "nf4:b16:q8", "int8:b16:q8")
    plan = plan_mixed(
        source,
        target_bits=5.0,
        formats=formats,
        method="nearest" if text is None else "gptq",
        calibration=text,
    )
    experts = {str(fmt) for name, fmt in plan.layers.items() if ".experts." in name}
    assert len([name for name in plan.layers if ".experts." in name]) == 18
    assert len(experts) > 1
    report = quantize_model(source, tmp_path / "out", format=formats[0], layers=plan)
    assert report.stored_bits.body == plan.stored_bits_body <= 5.0 * report.stored_bits.body_weights


def test_a_gate_of_one_row_stays_in_16_bits_where_a_trellis_cannot_run(tiny, tmp_path):
    source = tiny.write_model(tmp_path / "model", "qwen2_moe")
    plan = plan_mixed(source, target_bits=5.0)
    report = quantize_model(source, tmp_path / "out", format="tcq2:b64:q8", layers=plan)
    gates = [k for k in report.kept if k.name.endswith("shared_expert_gate.weight")]
    assert [k.reason for k in gates] == ["too few rows for tcq2:b64:q8"] * 2
    assert report.stored_bits.body == plan.stored_bits_body <= 5.0 * report.stored_bits.body_weights
    assert torch.isfinite(logits(tmp_path / "out")).all()
