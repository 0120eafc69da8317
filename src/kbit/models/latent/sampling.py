"""Texts from vectors: drawn token by token, with the bits of each."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from kbit.errors import UsageError
from kbit.models.latent.layers import State
from kbit.models.latent.model import LatentModel

LN2 = math.log(2)


@dataclass(frozen=True, kw_only=True, slots=True)
class Sampled:
    """Texts as tokens, without begin and end.

    Attributes:
        tokens: of each text.
        decoding_bits: of each token, -log2 of the probability it was drawn with; the end's last, where the
            text ended by itself.
        model_bits: the same at temperature 1.
        ended: whether each text ended by itself.
    """

    tokens: list[list[int]]
    decoding_bits: list[list[float]]
    model_bits: list[list[float]]
    ended: list[bool]


@torch.inference_mode()
def sample(
    model: LatentModel,
    latents: Tensor | None,
    *,
    texts: int,
    begin: int,
    end: int,
    temperature: float = 1.0,
    prefix: Tensor | None = None,
    generator: torch.Generator | None = None,
) -> Sampled:
    """Draw texts to their end, or as long as the model reads.

    Args:
        model: a decoder.
        latents: [texts, latent]; None for a plain language model.
        texts: how many.
        begin: number of the token before a text.
        end: of the one after it.
        temperature: 0 takes the likeliest token.
        prefix: int64 [texts, tokens], first tokens of each, the begin token among them; they are part of
            what is given back.
        generator: of the draws.

    Raises:
        UsageError: a negative temperature.
    """
    if temperature < 0:
        raise UsageError(f"the temperature is {temperature}; give 0 (the likeliest token) or more.")
    ids = torch.full((texts, 1), begin) if prefix is None else prefix
    given = ids.shape[1] - 1
    running = torch.ones(texts, dtype=torch.bool)
    columns: list[tuple[Tensor, Tensor, Tensor]] = []
    state: State | None = None
    recurrent = model.decoder.recurrent
    new = ids
    for place in range(ids.shape[1], model.config.max_position_embeddings):
        first = place - new.shape[1] if recurrent else 0
        hidden, state = model.decode(new if recurrent else ids, latents, state=state, first=first)
        logits = model.lm_head(hidden[:, -1]).float()
        own = logits.log_softmax(dim=-1)
        drawn = own if temperature in (0.0, 1.0) else (logits / temperature).log_softmax(dim=-1)
        if temperature == 0.0:
            chosen = logits.argmax(dim=-1)
            cost = torch.zeros(texts)
        else:
            chosen = torch.multinomial(drawn.exp(), 1, generator=generator)[:, 0]
            cost = -drawn.gather(1, chosen[:, None])[:, 0] / LN2
        chosen = torch.where(running, chosen, end)
        columns.append((chosen, cost, -own.gather(1, chosen[:, None])[:, 0] / LN2))
        running = running & (chosen != end)
        new = chosen[:, None]
        ids = torch.cat([ids, new], dim=1)
        if not bool(running.any()):
            break
    return _collect(ids, columns, given=given, end=end)


def _collect(ids: Tensor, columns: list[tuple[Tensor, Tensor, Tensor]], *, given: int, end: int) -> Sampled:
    tokens, drawn_bits, own_bits, ended = [], [], [], []
    rows = ids[:, 1:].tolist()
    costs = [column[1].tolist() for column in columns]
    owns = [column[2].tolist() for column in columns]
    for row, values in enumerate(rows):
        made = values[given:]
        stop = made.index(end) if end in made else len(made)
        tokens.append(values[: given + stop])
        counted = min(stop + 1, len(made))
        drawn_bits.append([costs[i][row] for i in range(counted)])
        own_bits.append([owns[i][row] for i in range(counted)])
        ended.append(stop < len(made))
    return Sampled(tokens=tokens, decoding_bits=drawn_bits, model_bits=own_bits, ended=ended)
