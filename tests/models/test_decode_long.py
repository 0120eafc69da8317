"""Long runs of the core's step against Transformers: 4,096 tokens, beyond a window, eight texts at once."""

import pytest
import torch
from transformers import AutoModelForCausalLM, LlamaConfig, MistralConfig

from kbit.models.decode import CoreDecoder

LENGTH = 4096
SHAPE = {
    "vocab_size": 96,
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": LENGTH,
    "tie_word_embeddings": False,
}
CONFIGS = {"llama": LlamaConfig(**SHAPE), "mistral-window": MistralConfig(**SHAPE, sliding_window=500)}


def make(name, dtype):
    torch.manual_seed(3)
    model = AutoModelForCausalLM.from_config(CONFIGS[name]).to(dtype).eval()
    with torch.no_grad():
        for key, weight in model.named_parameters():
            if weight.ndim == 2 and "embed" not in key:
                weight.mul_(4)  # so that attention chooses
    return model


def tokens(count, seed):
    return torch.randint(96, (count,), generator=torch.Generator().manual_seed(seed)).tolist()


def expected(model, ids):
    with torch.no_grad():
        return model(torch.tensor([ids]), use_cache=False).logits[0].float()


def error(found, exact):
    """Of each row, as a share of its length."""
    return (found - exact).norm(dim=-1) / exact.norm(dim=-1)


@pytest.mark.parametrize("name", CONFIGS)
def test_the_whole_context_in_float32(name):
    """Every token's logits, the last thousand decoded one by one after a prompt read in panels."""
    model, ids = make(name, torch.float32), tokens(LENGTH, 1)
    decoder = CoreDecoder(model, room=LENGTH)
    found = [decoder.read(ids[:3096])]
    found += [decoder.step([token])[0] for token in ids[3096:]]
    assert error(torch.stack(found), expected(model, ids)[3095:]).max() < 2e-5


@pytest.mark.parametrize("name", CONFIGS)
def test_eight_texts_of_different_lengths_in_bfloat16(name):
    """No farther from float32 than Transformers in bfloat16 is, wherever in its context a text stands."""
    model, exact = make(name, torch.bfloat16), make(name, torch.bfloat16).float()
    lengths = [5, 130, 700, 1500, 2222, 3000, 3900, 4080]
    texts = [tokens(length + 12, seed) for seed, length in enumerate(lengths)]
    decoder = CoreDecoder(model, room=LENGTH, texts=8)
    found = [
        [decoder.read(ids[:length], text=i)]
        for i, (ids, length) in enumerate(zip(texts, lengths, strict=True))
    ]
    for step in range(11):
        after = decoder.step(
            [ids[length + step] for ids, length in zip(texts, lengths, strict=True)], list(range(8))
        )
        for rows, logits in zip(found, after, strict=True):
            rows.append(logits)
    ours, theirs = [], []
    for ids, length, rows in zip(texts, lengths, found, strict=True):
        reference = expected(exact, ids)[length - 1 : -1]
        ours.append(error(torch.stack(rows), reference).mean())
        theirs.append(error(expected(model, ids)[length - 1 : -1], reference).mean())
    assert max(ours) < 0.03
    assert sum(ours) < 1.1 * sum(theirs)
