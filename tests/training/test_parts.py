"""The loss, the schedule, the packing, the model's size and start: each against a figure made another way."""

import math
import time

import numpy as np
import pytest
import torch
from torch.nn import functional

from kbit.corpus import Document
from kbit.errors import TrainingError
from kbit.training.architecture import config_of, new_model, size_of
from kbit.training.loss import sliced_cross_entropy
from kbit.training.pack import Stream, pack
from kbit.training.peak import peak_flops_per_s
from kbit.training.recipe import ModelPart, Rung, TrainingPart
from kbit.training.schedule import learning_rate, peak_learning_rate
from kbit.training.shape import shape_for


@pytest.mark.parametrize("count", [1, 511, 512, 1300])
def test_sliced_loss_and_gradients_are_the_plain_ones(count):
    generator = torch.Generator().manual_seed(count)
    hidden = torch.randn(count, 24, generator=generator, dtype=torch.float64).float().requires_grad_()
    head = torch.randn(77, 24, generator=generator).requires_grad_()
    targets = torch.randint(77, (count,), generator=generator)
    loss = sliced_cross_entropy(hidden, head, targets, dtype=torch.float32)
    (3 * loss).backward()
    found = hidden.grad.clone(), head.grad.clone()
    hidden.grad = head.grad = None
    expected = functional.cross_entropy(hidden @ head.T, targets)
    (3 * expected).backward()
    assert loss.item() == pytest.approx(expected.item(), rel=1e-6)
    torch.testing.assert_close(found[0], hidden.grad, rtol=1e-4, atol=1e-8)
    torch.testing.assert_close(found[1], head.grad, rtol=1e-4, atol=1e-7)


def test_sliced_loss_in_bfloat16_is_close():
    generator = torch.Generator().manual_seed(0)
    hidden, head = torch.randn(600, 64, generator=generator), 0.1 * torch.randn(512, 64, generator=generator)
    targets = torch.randint(512, (600,), generator=generator)
    loss = sliced_cross_entropy(hidden, head, targets, dtype=torch.bfloat16)
    assert loss.item() == pytest.approx(functional.cross_entropy(hidden @ head.T, targets).item(), rel=2e-3)


def test_schedule_rises_holds_and_falls():
    part = TrainingPart(learning_rate=0.01, reference_hidden=128, warmup_share=0.1, decay_share=0.5)
    peak = 0.01 * math.sqrt(128 / 512)
    assert peak_learning_rate(part, 512) == pytest.approx(peak)
    rates = [learning_rate(part, hidden=512, step=step, steps=100) for step in range(100)]
    assert rates[0] == pytest.approx(peak / 10)
    assert rates[10:50] == pytest.approx([peak] * 40)
    assert rates[75] == pytest.approx(peak / 2)
    assert rates[99] == pytest.approx(peak / 50)
    constant = TrainingPart(learning_rate=0.01, warmup_share=0.0, decay_share=0.0)
    assert {learning_rate(constant, hidden=128, step=step, steps=5) for step in range(5)} == {0.01}


def stream(count: int, context: int) -> Stream:
    return Stream(tokens=np.arange(count, dtype=np.uint32), bytes=count, context=context)


def test_an_epoch_shows_each_window_once_and_targets_follow_inputs():
    packed = stream(1000, 16)
    windows = packed.windows_per_epoch
    rows = np.concatenate([packed.batch(step=step, windows=1, seed=5) for step in range(windows)])
    assert rows.shape == (windows, 17)
    assert (np.diff(rows) == 1).all()  # the tokens are 0, 1, 2, …
    starts = np.sort(rows[:, 0])
    assert (np.diff(starts) == 16).all()
    assert starts[0] < 16


def test_epochs_differ_and_steps_are_positions():
    packed = stream(1000, 16)
    windows = packed.windows_per_epoch
    first = packed.batch(step=0, windows=windows, seed=5)
    second = packed.batch(step=1, windows=windows, seed=5)
    assert not np.array_equal(first, second)
    assert np.array_equal(second, packed.batch(step=1, windows=windows, seed=5))
    assert not np.array_equal(first, packed.batch(step=0, windows=windows, seed=6))
    pairs = [packed.batch(step=step, windows=2, seed=5) for step in range(8)]
    assert np.array_equal(np.concatenate(pairs), packed.batch(step=0, windows=16, seed=5))


def test_packing_puts_bos_before_each_document_and_keeps_all_text(recipe, tmp_path):
    from kbit.training.prepare import prepare

    prepared = prepare(recipe, tmp_path / "out")
    tokenizer, packed = prepared.tokenizer(), prepared.stream()
    ids = packed.tokens.tolist()
    assert ids[0] == 0
    texts = []
    for i, token in enumerate(ids):
        texts.append([]) if token == 0 else texts[-1].append(ids[i])
    from kbit.corpus import read_documents

    expected = sorted(d.text for d in read_documents([tmp_path / "out" / "training.jsonl"]))
    assert sorted(tokenizer.decode(t) for t in texts) == expected
    assert packed.bytes == sum(len(t.encode()) for t in expected) == prepared.training_bytes


def test_too_little_text(recipe, tmp_path):
    from kbit.training.prepare import prepare

    tokenizer = prepare(recipe, tmp_path / "out").tokenizer()
    with pytest.raises(TrainingError, match="fewer than two windows of 512"):
        pack([Document(name="a", text="short")], tokenizer, context=512, seed=0)


@pytest.mark.parametrize("groups", [1, 2])
def test_counts_are_those_of_the_model(groups):
    rung = Rung(name="r", hidden=96, layers=3, intermediate=160, tokens=1)
    part = ModelPart(context=64, head_width=16, key_value_groups=groups)
    model = new_model(config_of(rung, part, vocabulary=700), seed=0)
    size = size_of(rung, part, 700)
    assert sum(p.numel() for p in model.parameters()) == size.parameters
    assert size.embedding_parameters == 700 * 96
    norms = (2 * 3 + 1) * 96
    matrices = size.body_parameters - norms
    assert size.flops_per_token == 6 * (matrices + 700 * 96) + 6 * 3 * 96 * 64
    assert model.config.tie_word_embeddings
    assert model.lm_head.weight is model.model.embed_tokens.weight


def test_a_new_model_depends_on_its_seed_alone():
    config = config_of(
        Rung(name="r", hidden=64, layers=2, intermediate=96, tokens=1), ModelPart(), vocabulary=600
    )
    torch.manual_seed(1)
    one = new_model(config, seed=7)
    torch.manual_seed(2)
    same, other = new_model(config, seed=7), new_model(config, seed=8)
    for a, b in zip(one.parameters(), same.parameters(), strict=True):
        assert torch.equal(a, b)
    assert not torch.equal(one.lm_head.weight, other.lm_head.weight)
    deviations = {name: p.std().item() for name, p in one.named_parameters() if p.ndim > 1}
    assert deviations["model.embed_tokens.weight"] == pytest.approx(0.02, rel=0.05)
    assert deviations["model.layers.0.self_attn.q_proj.weight"] == pytest.approx(64**-0.5, rel=0.05)
    assert deviations["model.layers.0.mlp.down_proj.weight"] == pytest.approx(96**-0.5 / 2, rel=0.05)


@pytest.mark.parametrize("architecture", ["llama", "gpt2"])
@pytest.mark.parametrize("groups", [1, 2])
def test_sizes_are_those_of_the_models(architecture, groups, tmp_path):
    from kbit.models import open_model

    if architecture == "gpt2" and groups > 1:
        pytest.skip("GPT-2 has one key head for each query head")
    part = ModelPart(architecture=architecture, context=48, head_width=16, key_value_groups=groups)
    rung = Rung(name="r", hidden=64, layers=3, intermediate=96, tokens=1)
    model = new_model(config_of(rung, part, vocabulary=512), seed=1)
    size = size_of(rung, part, 512)
    assert size.parameters == sum(p.numel() for p in model.parameters())
    model.save_pretrained(tmp_path)
    assert open_model(tmp_path).body_parameters == size.body_parameters


@pytest.mark.parametrize("architecture", ["llama", "gpt2"])
def test_layers_begin_as_the_identity_with_zero_outputs(architecture):
    part = ModelPart(architecture=architecture, context=16, head_width=16)
    rung = Rung(name="r", hidden=32, layers=2, intermediate=64, tokens=1)
    config = config_of(rung, part, vocabulary=512)
    ids = torch.arange(16)[None]
    hidden = {}
    for start in ("zero", "scaled"):
        model = new_model(config, seed=1, residual_init=start).eval()
        states = model(ids, output_hidden_states=True).hidden_states
        hidden[start] = (states[0], states[1])
        outputs = [w for n, w in model.named_parameters() if n.endswith(("o_proj.weight", "c_proj.weight"))]
        assert outputs
        assert all(bool(w.any()) == (start == "scaled") for w in outputs)
    assert torch.equal(*hidden["zero"])
    assert not torch.allclose(*hidden["scaled"])


@pytest.mark.parametrize("wanted", [20_000, 300_000, 5_000_000, 134_000_000, 7_000_000_000])
@pytest.mark.parametrize("architecture", ["llama", "gpt2"])
def test_the_rule_of_shape_comes_near(wanted, architecture):
    part = ModelPart(architecture=architecture, head_width=16 if wanted < 10**6 else 64)
    hidden, layers, intermediate = shape_for(wanted, part)
    rung = Rung(name="r", hidden=hidden, layers=layers, intermediate=intermediate, tokens=1)
    assert size_of(rung, part, 1).body_parameters == pytest.approx(
        wanted, rel=0.25 if wanted > 10**5 else 0.45
    )
    assert 24 <= hidden / layers <= 96
    assert hidden % part.head_width == 0
    assert intermediate % 32 == 0


def test_a_shape_that_cannot_be_is_refused():
    with pytest.raises(TrainingError, match="no shape of about 100 body parameters"):
        shape_for(100, ModelPart(head_width=64))


def test_the_peak_is_no_less_than_a_product_reaches():
    roof = peak_flops_per_s("cpu", torch.get_num_threads())
    a = torch.randn(1024, 1024, dtype=torch.bfloat16)
    started = time.perf_counter()
    for _ in range(4):
        a @ a
    assert roof > 0.3 * 8 * 1024**3 / (time.perf_counter() - started)
