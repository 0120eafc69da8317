"""The loss against one computed token by token from Transformers' own logits."""

import numpy as np
import pytest
import torch

from kbit.models import load
from kbit.training.finetune.batches import make_batch
from kbit.training.finetune.encode import Encoded
from kbit.training.finetune.objective import AnswerLoss


@pytest.fixture(scope="module")
def model(rung):
    return load(rung, dtype=torch.float32)


@pytest.fixture(scope="module")
def examples():
    made = np.random.default_rng(1)
    return [
        Encoded(
            source=f"x:{n}", tokens=np.r_[0, made.integers(2, 2000, length)],
            answer=np.r_[np.zeros(length - answer + 1, bool), np.ones(answer, bool)], label=label,
            answer_bytes=4, answer_characters=4,
        )
        for n, (length, answer, label) in enumerate([(6, 2, "a"), (11, 1, "b"), (9, 4, "a")])
    ]  # fmt: skip


def by_hand(model, example) -> list[float]:
    ids = torch.tensor(example.tokens)[None]
    with torch.no_grad():
        logs = model(ids).logits[0].double().log_softmax(-1)
    return [-float(logs[i - 1, ids[0, i]]) for i in range(ids.shape[1]) if example.answer[i]]


def test_texts_count_by_token(model, examples):
    each = [by_hand(model, e) for e in examples]
    loss = AnswerLoss(model, by_label=False, autocast=False)
    found = loss(make_batch(examples, None))
    assert float(found.total) == pytest.approx(sum(map(sum, each)), rel=1e-5)
    assert found.weight == found.tokens == 7
    assert found.nats.tolist() == pytest.approx([sum(e) for e in each], rel=1e-5)
    assert loss.weight(make_batch(examples, None)) == 7


def test_labels_count_by_example_with_the_weight_of_their_class(model, examples):
    each = [sum(by_hand(model, e)) for e in examples]
    weights = {"a": 0.5, "b": 3.0}
    loss = AnswerLoss(model, by_label=True, autocast=False)
    found = loss(make_batch(examples, weights))
    assert float(found.total) == pytest.approx(0.5 * each[0] + 3 * each[1] + 0.5 * each[2], rel=1e-5)
    assert found.weight == loss.weight(make_batch(examples, weights)) == pytest.approx(4.0)


@pytest.mark.parametrize("by_label", [True, False])
def test_focal_is_what_lin_et_al_define(model, examples, by_label):
    gamma, total = 2.0, 0.0
    for example in examples:
        nats = by_hand(model, example)
        total += (1 - np.exp(-sum(nats))) ** gamma * sum(nats)
    found = AnswerLoss(model, by_label=by_label, focal_gamma=gamma, autocast=False)(
        make_batch(examples, None)
    )
    assert float(found.total) == pytest.approx(total, rel=1e-5)


def test_focal_gradient_is_finite_where_the_answer_is_certain():
    nats = torch.tensor([1e-9, 0.0, 0.5], requires_grad=True)
    ((-torch.expm1(-nats)).clamp_min(1e-12) ** 2.0 * nats).sum().backward()
    assert torch.isfinite(nats.grad).all()


def test_padding_changes_nothing(model, examples):
    loss = AnswerLoss(model, by_label=False, autocast=False)
    together = loss(make_batch(examples, None)).nats
    alone = torch.cat([loss(make_batch([e], None)).nats for e in examples])
    assert torch.allclose(together, alone, rtol=1e-5)


def test_exact_is_the_likeliest_token_each_time(model, examples):
    ids = torch.tensor(examples[0].tokens)
    right = ids.clone()
    for at in (5, 6):
        with torch.no_grad():
            right[at] = model(right[None, :at]).logits[0, -1].argmax()
    exact = Encoded(
        source="x", tokens=right.numpy(), answer=examples[0].answer, label=None, answer_bytes=1,
        answer_characters=1,
    )  # fmt: skip
    found = AnswerLoss(model, by_label=False, autocast=False)(make_batch([exact, examples[0]], None))
    assert found.exact.tolist() == [True, False]


def test_the_head_sees_few_shapes_in_training_and_gradients_are_the_same(model, examples):
    shapes = []
    head = model.get_output_embeddings()
    hook = head.register_forward_pre_hook(lambda _, given: shapes.append(len(given[0])))
    loss = AnswerLoss(model, by_label=False, autocast=False)
    shapes.clear()
    try:
        for count in (1, 2, 3):  # 2, 3 and 7 answer tokens
            model.zero_grad()
            loss(make_batch(examples[:count], None)).total.backward()
    finally:
        hook.remove()
    assert shapes == [64, 64, 64]
    found = model.get_input_embeddings().weight.grad.clone()
    model.zero_grad()
    for example in examples:
        ids = torch.tensor(example.tokens)[None]
        nats = torch.nn.functional.cross_entropy(model(ids).logits[0, :-1], ids[0, 1:], reduction="none")
        nats[torch.tensor(example.answer[1:])].sum().backward()
    assert torch.allclose(found, model.get_input_embeddings().weight.grad, rtol=1e-3, atol=1e-4)
    model.zero_grad()
