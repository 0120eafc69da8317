"""LoRA beside packed layers: gradients are those of the decoded twin, and no dense weight is held."""

import copy

import pytest
import torch

from kbit.models import load, load_tokenizer
from kbit.models.dense import make_dense
from kbit.models.stored_weight import StoredWeight
from kbit.quantize import quantize_model
from kbit.training.finetune.batches import make_batch
from kbit.training.finetune.encode import encode_examples
from kbit.training.finetune.lora import adapted_layers, make_trainable, trained
from kbit.training.finetune.memory import kept_for_backward, model_bytes
from kbit.training.finetune.objective import AnswerLoss
from kbit.training.finetune.settings import Tuning

FORMATS = (
    "uint1:b64",
    "nf2:b32",
    "int3:b128:q8",
    "nf4:b64",
    "e2m2:row",
    "quantile6:b64",
    "int7:flat64",
    "int8:b64",
)
TUNING = Tuning(rank=4, precision="fp32")


def gradients(model, batch, *, autocast=False) -> dict[str, torch.Tensor]:
    for name, parameter in model.named_parameters():
        if "lora_B" in name:  # zero at the start, which would hide the others' gradients
            with torch.no_grad():
                parameter.copy_(torch.linspace(-0.05, 0.05, parameter.numel()).view_as(parameter))
    found = AnswerLoss(model, by_label=False, autocast=autocast)(batch)
    (found.total / found.weight).backward()
    return {name: p.grad for name, p in model.named_parameters() if p.requires_grad}


@pytest.mark.parametrize("weight_format", FORMATS)
def test_gradients_are_those_of_the_decoded_twin(rung, completions, tmp_path, weight_format):
    quantize_model(rung, tmp_path / "k", format=weight_format)
    tokenizer = load_tokenizer(rung)
    batch = make_batch(encode_examples(completions[:4], tokenizer, TUNING, longest=64).examples, None)
    packed = load(tmp_path / "k", dtype=torch.float32)
    dense = make_dense(load(tmp_path / "k", dtype=torch.float32))
    for model in (packed, dense):
        make_trainable(model, TUNING)
    ours, theirs = gradients(packed, batch), gradients(dense, batch)
    assert ours.keys() == theirs.keys()
    assert len(ours) == 2 * 7 * 2  # two matrices beside seven layers in two blocks
    for name, gradient in ours.items():
        assert gradient.abs().max() > 0, name
        assert torch.allclose(
            gradient, theirs[name], rtol=2e-3, atol=2e-6 + 2e-4 * theirs[name].abs().max()
        ), name


def test_the_head_is_left_alone(rung):
    model = load(rung)
    assert adapted_layers(model) == [
        "down_proj", "gate_proj", "k_proj", "o_proj", "q_proj", "up_proj", "v_proj",
    ]  # fmt: skip
    make_trainable(model, TUNING)
    assert all("lora_" in name for name, p in model.named_parameters() if p.requires_grad)
    assert all(p.dtype == torch.float32 for p in trained(model))


def test_codes_stay_and_no_dense_copy_is_held(packed, rung, completions):
    tokenizer = load_tokenizer(packed)
    batch = make_batch(encode_examples(completions[:2], tokenizer, TUNING, longest=64).examples, None)
    model = load(packed)
    codes = {n: copy.deepcopy(m.parts()) for n, m in model.named_modules() if isinstance(m, StoredWeight)}
    loaded = model_bytes(model)
    make_trainable(model, TUNING)
    added = sum(4 * p.numel() for p in trained(model))
    shapes = {tuple(m.record.shape) for m in model.modules() if isinstance(m, StoredWeight)}
    kept: list[tuple[int, ...]] = []

    def note(tensor):
        kept.append(tuple(tensor.shape))
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        found = AnswerLoss(model, by_label=False)(batch)
    assert kept
    assert not shapes & {*kept, *(shape[::-1] for shape in kept)}
    (found.total / found.weight).backward()
    assert model_bytes(model) == loaded + added
    assert loaded < 0.5 * model_bytes(load(rung))
    for name, module in model.named_modules():
        if isinstance(module, StoredWeight):
            before = codes[name.replace(".base_layer", "")]
            assert all(torch.equal(before[part], tensor) for part, tensor in module.parts().items())


def test_activations_grow_with_the_example_and_not_with_the_weights(packed, completions, labelled):
    tokenizer = load_tokenizer(packed)
    model = load(packed)
    make_trainable(model, TUNING)
    loss = AnswerLoss(model, by_label=False)
    short, long = encode_examples([completions[0], labelled[0]], tokenizer, TUNING, longest=64).examples
    state = torch.get_rng_state()
    few, many = (kept_for_backward(model, loss, e) for e in (short, long))
    assert torch.equal(torch.get_rng_state(), state)
    assert 0.6 * long.length / short.length < many / few < 1.6 * long.length / short.length
