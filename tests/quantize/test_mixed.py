"""Mixed precision: the best allocation there is, the budget kept exactly, and a plan that makes it again."""

import itertools
import json

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from kbit.errors import UsageError
from kbit.models import open_model, stored_bits
from kbit.quantize import Calibration, quantize_model
from kbit.quantize.mixed import allocate as allocate_module
from kbit.quantize.mixed.allocate import allocate
from kbit.quantize.mixed.plan import plan_mixed
from kbit.quantize.mixed.plan_file import read_plan

FORMATS = ("uint2:b16:q8", "nf3:b16:q8", "nf4:b16:q8", "int8:b16:q8")


def brute_force(bits, damage, budget):
    found = []
    for choices in itertools.product(*(range(len(row)) for row in bits)):
        if sum(row[j] for row, j in zip(bits, choices, strict=True)) <= budget:
            found.append(sum(row[j] for row, j in zip(damage, choices, strict=True)))
    return min(found, default=None)


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_allocation_equals_brute_force(data):
    layers, options = data.draw(st.integers(1, 5)), data.draw(st.integers(1, 4))
    number = st.integers(1, 40)
    bits = [[data.draw(number) for _ in range(options)] for _ in range(layers)]
    damage = [[data.draw(st.floats(0, 100)) for _ in range(options)] for _ in range(layers)]
    budget = data.draw(st.integers(1, 40 * layers))
    best = brute_force(bits, damage, budget)
    if best is None:
        with pytest.raises(UsageError, match="smallest formats take"):
            allocate(bits, damage, budget)
        return
    found = allocate(bits, damage, budget)
    assert found.bits <= budget
    assert found.damage == pytest.approx(best, abs=1e-9)
    assert found.gap == 0
    assert found.bits == sum(row[j] for row, j in zip(bits, found.choices, strict=True))


def test_too_many_states_give_the_relaxed_answer_and_its_gap(monkeypatch):
    generator = torch.Generator().manual_seed(0)
    bits = [[2, 3, 5, 8] for _ in range(7)]
    damage = [sorted(torch.rand(4, generator=generator).tolist(), reverse=True) for _ in range(7)]
    exact = allocate(bits, damage, 26)
    monkeypatch.setattr(allocate_module, "MAX_STATES", 1)
    relaxed = allocate(bits, damage, 26)
    assert relaxed.bits <= 26
    assert exact.damage <= relaxed.damage <= exact.damage + relaxed.gap + 1e-9


def test_a_real_size_is_proved_best_in_no_time():
    generator = torch.Generator().manual_seed(1)
    sizes = (torch.rand(224, generator=generator) * 4e7 + 4e6).long()
    bits = [[int(n) * k + 7 * int(n) // 64 for k in range(2, 9)] for n in sizes]
    weight = torch.rand(224, generator=generator) ** 4
    damage = [[float(w) * 4.0**-k for k in range(2, 9)] for w in weight]
    found = allocate(bits, damage, int(3.3 * int(sizes.sum())))
    assert found.gap <= 1e-4 * found.damage


@pytest.fixture(scope="module")
def llama(tiny, tmp_path_factory):
    return tiny.write_model(tmp_path_factory.mktemp("llama") / "model", "llama", dtype=torch.float32)


def text(tokens=600, length=40):
    generator = torch.Generator().manual_seed(0)
    windows = tuple(torch.randint(0, 101, (length,), generator=generator) for _ in range(tokens // length))
    return Calibration(kind="text", windows=windows, documents=(), hash="cd" * 32, seed=0, context=length)


@pytest.mark.parametrize("target", [4.0, 4.61, 6.2])
def test_the_body_is_within_the_target_and_near_it(llama, tmp_path, target):
    plan = plan_mixed(llama, target_bits=target, formats=FORMATS)
    report = quantize_model(llama, tmp_path / "out", format=FORMATS[0], layers=plan)
    bits = stored_bits(report.out)
    assert bits.body == plan.stored_bits_body <= target * bits.body_weights
    # The smallest step from one allocation to another is less than a layer's.
    assert bits.body >= (target - 0.1) * bits.body_weights
    assert plan.gap == 0
    assert report.format == "mixed"
    written = {n: str(record.format) for n, record in open_model(report.out).records.items()}
    assert written == {n: str(fmt) for n, fmt in plan.layers.items()}


def test_a_layer_that_matters_more_gets_more_bits(llama):
    plan = plan_mixed(llama, target_bits=4.3, formats=FORMATS, method="gptq", calibration=text())
    assert plan.unit.startswith("KL divergence")
    for found in plan.damage.values():
        assert list(found) == list(FORMATS)
        assert found[FORMATS[0]] > found[FORMATS[2]] > found[FORMATS[3]] >= 0
    costs = {n: r.weights for n, r in open_model_records(llama).items()}
    per_weight = {n: d[FORMATS[1]] / costs[n] for n, d in plan.damage.items()}
    bits = {n: fmt.bits for n, fmt in plan.layers.items()}
    most = sorted(per_weight, key=per_weight.get)
    low, high = most[: len(most) // 2], most[len(most) // 2 :]
    assert sum(bits[n] for n in high) / len(high) > sum(bits[n] for n in low) / len(low)


def open_model_records(source):
    from pathlib import Path

    from kbit.formats import parse_format
    from kbit.models.record import Method
    from kbit.models.safetensors_read import read_folder_tensors
    from kbit.models.skeleton import build_skeleton
    from kbit.quantize.plan import Choice, make_plan

    folder = Path(source)
    choice = Choice(
        format=parse_format("nf4"), embeddings=None, head=None, method=Method(name="nearest", version=1)
    )
    plan = make_plan(folder, build_skeleton(folder), read_folder_tensors(folder), choice)
    return {record.name: record for record in plan.records}


def test_measured_damage_is_the_kl_of_that_layer_alone(llama, tmp_path):
    from kbit.formats import parse_format
    from kbit.models import load
    from kbit.quantize.method import METHODS
    from kbit.quantize.mixed.damage import measured_damage

    name = "model.layers.1.mlp.down_proj"
    record = open_model_records(llama)[name]
    formats = [parse_format(f) for f in FORMATS]
    damage = measured_damage(llama, [record], text(), formats, METHODS["gptq"].recipe)
    middle = FORMATS[2]
    others = [n for n in open_model_records(llama) if n != name]
    out = quantize_model(
        llama, tmp_path / "o", format=middle, keep=others, method="gptq", calibration=text()
    ).out
    original, changed = load(llama, dtype=torch.float32), load(out, dtype=torch.float32)
    total = tokens = 0
    for window in text().windows:
        with torch.inference_mode():
            p, q = (m(window[None]).logits[0].log_softmax(-1) for m in (original, changed))
        total, tokens = total + float((p.exp() * (p - q)).sum()), tokens + len(p)
    # The kept layers were rounded to bfloat16 by the folder, hence the tolerance.
    assert damage.by_layer[name][middle] == pytest.approx(total / tokens, rel=0.15)


def test_the_plan_beside_the_model_makes_it_again(llama, tmp_path):
    plan = plan_mixed(llama, target_bits=4.4, formats=FORMATS)
    first = quantize_model(llama, tmp_path / "a", format=FORMATS[0], layers=plan).out
    again = quantize_model(llama, tmp_path / "b", format=FORMATS[0], layers=read_plan(first)).out
    assert (again / "model.safetensors").read_bytes() == (first / "model.safetensors").read_bytes()
    assert json.loads((again / "plan.json").read_text()) == json.loads((first / "plan.json").read_text())


def test_wrong_plans_and_targets_are_answered(llama, tmp_path):
    with pytest.raises(UsageError, match=r"target of 2 bits a weight is below [34]\.\d+"):
        plan_mixed(llama, target_bits=2.0, formats=FORMATS)
    with pytest.raises(UsageError, match=r"give 2 to 8\.5"):
        plan_mixed(llama, target_bits=9.0, formats=FORMATS)
    with pytest.raises(UsageError, match="at least two formats"):
        plan_mixed(llama, target_bits=4.0, formats=["nf4"])
    with pytest.raises(UsageError, match="bf16 is not packed"):
        plan_mixed(llama, target_bits=4.0, formats=["nf4", "bf16"])
    file = tmp_path / "plan.json"
    for content, says in (
        ("[]", "is no plan"),
        ('{"layers": {"a": "nf44"}}', "no data type 'nf44'"),
        ('{"version": 9, "layers": {}}', "has version 9"),
    ):
        file.write_text(content)
        with pytest.raises(UsageError, match=says):
            read_plan(file)
    with pytest.raises(UsageError, match="cannot be read"):
        read_plan(tmp_path / "nowhere.json")
    file.write_text('{"layers": {"model.layers.0.mlp.up": "nf4"}}')
    with pytest.raises(UsageError, match=r"'model.layers.0.mlp.up', which is no linear layer.*up_proj"):
        quantize_model(llama, tmp_path / "o", format="nf4", layers=read_plan(file))
