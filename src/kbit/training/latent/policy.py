"""Policy gradients for text: the generator as a policy, whole texts judged, places valued by roll-outs.

Sutton et al. 2000; Yu et al. 2017, "SeqGAN", equations 2 to 8.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from kbit.models.latent import LatentModel
from kbit.models.latent.sampling import Sampled, sample

Judge = Callable[[Tensor, Tensor], Tensor]
"""Token numbers and mask of whole texts to a reward for each, [texts]."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Rollout:
    """Texts, and what each of their tokens is worth.

    Attributes:
        ids: int64 [texts, tokens], begin, text, end, padding.
        mask: bool, the same shape.
        values: float32 [texts, tokens - 1], the reward expected once the token at the next place is chosen.
    """

    ids: Tensor
    mask: Tensor
    values: Tensor


def rows_of(sampled: Sampled, *, begin: int, end: int) -> tuple[Tensor, Tensor]:
    """Rows of tokens as a judge reads them, and their mask; a text cut by its length has no end token."""
    lengths = [len(tokens) + int(ended) for tokens, ended in zip(sampled.tokens, sampled.ended, strict=True)]
    ids = torch.full((len(lengths), max(lengths) + 1), end, dtype=torch.int64)
    ids[:, 0] = begin
    for row, tokens in enumerate(sampled.tokens):
        ids[row, 1 : 1 + len(tokens)] = torch.tensor(tokens, dtype=torch.int64)
    mask = torch.arange(ids.shape[1]) <= torch.tensor(lengths)[:, None]
    return ids, mask


@torch.no_grad()
def roll_out(
    model: LatentModel, judge: Judge, *, texts: int, begin: int, end: int, rollouts: int, every: int
) -> Rollout:
    """Draw texts, and value their tokens by completing them again from several places.

    A token's value is the mean reward of completions of the text up to the next judged place at or after it,
    and the text's own reward behind the last.

    Args:
        model: the generator.
        judge: gives a whole text its reward.
        texts: how many.
        begin: number of the token before a text.
        end: of the one after it.
        rollouts: completions from each judged place.
        every: tokens between judged places.
    """
    ids, mask = rows_of(sample(model, None, texts=texts, begin=begin, end=end), begin=begin, end=end)
    own = judge(ids, mask)
    values = own[:, None].repeat(1, ids.shape[1] - 1)
    first = 0
    for place in range(every, ids.shape[1] - 1, every):
        live = mask[:, place + 1]  # texts that have ended by then keep their own reward
        if not bool(live.any()):
            break
        prefix = ids[live, : place + 1].repeat(rollouts, 1)
        completed = sample(model, None, texts=len(prefix), begin=begin, end=end, prefix=prefix)
        rewards = judge(*rows_of(completed, begin=begin, end=end)).view(rollouts, -1).mean(dim=0)
        values[live, first:place] = rewards[:, None]
        first = place
    return Rollout(ids=ids, mask=mask, values=values)


def policy_loss(
    model: LatentModel, rolled: Rollout, baseline: Tensor | None, *, entropy_weight: float = 0.0
) -> Tensor:
    """-mean over texts of sum over tokens of (value - baseline) log p(token): its gradient is the policy's.

    Args:
        model: the generator.
        rolled: texts drawn from it, and their values.
        baseline: float32 [texts, tokens - 1], what a place is worth before its token is chosen; any baseline
            leaves the expected gradient as it is, a good one takes its noise away. No gradient flows into it.
        entropy_weight: of the mean entropy of the next token, in nats.
    """
    hidden, _ = model.decode(rolled.ids[:, :-1], None)
    log_p = functional.log_softmax(model.lm_head(hidden).float(), dim=-1)
    chosen = log_p.gather(2, rolled.ids[:, 1:, None])[..., 0]
    scored = rolled.mask[:, 1:].to(chosen.dtype)
    advantage = rolled.values if baseline is None else rolled.values - baseline.detach()
    loss = -(advantage * chosen * scored).sum() / len(rolled.ids)
    if entropy_weight:
        entropy = -(log_p.exp() * log_p).sum(dim=-1)
        loss = loss - entropy_weight * (entropy * scored).sum() / scored.sum()
    return loss
