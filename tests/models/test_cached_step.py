"""The name a model gives its cache, whichever version of Transformers it is of."""

import warnings
from types import SimpleNamespace

import pytest
import torch

from kbit.models import load
from kbit.models.cached_step import cached_step


class Model:
    """Returns how many tokens it has read, as logits, and keeps that."""

    def __call__(self, ids, **given):
        assert given.pop("use_cache")
        [(name, kept)] = given.items()
        read = (kept or 0) + ids.shape[1]
        return SimpleNamespace(logits=torch.full((1, ids.shape[1], 1), float(read)), **{name: read})


class Newer(Model):
    def forward(self, ids, cache=None, use_cache=None): ...


class Older(Model):
    def forward(self, ids, past_key_values=None, use_cache=None): ...


class Recurrent(Model):
    def forward(self, ids, cache_params=None, use_cache=None): ...


class Wrapped(Model):
    def forward(self, *arguments, **named): ...


@pytest.mark.parametrize("kind", [Newer, Older, Recurrent, Wrapped])
def test_what_is_kept_is_given_back_under_its_name(kind):
    logits, kept = cached_step(kind(), torch.zeros((1, 3), dtype=torch.int64), None)
    assert (logits.shape, kept) == ((1, 3, 1), 3)
    logits, kept = cached_step(kind(), torch.zeros((1, 2), dtype=torch.int64), kept)
    assert (float(logits[0, -1]), kept) == (5.0, 5)


def test_token_by_token_is_the_whole_and_nothing_is_deprecated():
    model = load("ladder:rung-1", dtype=torch.float32)
    ids = torch.tensor([[1, 5, 9, 200, 41]])
    with torch.inference_mode(), warnings.catch_warnings():
        warnings.simplefilter("error")
        whole = model(ids).logits
        kept, steps = None, []
        for place in range(ids.shape[1]):
            logits, kept = cached_step(model, ids[:, place : place + 1], kept)
            steps.append(logits)
    torch.testing.assert_close(torch.cat(steps, dim=1), whole, atol=1e-4, rtol=1e-4)
