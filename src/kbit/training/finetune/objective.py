"""The loss on the answers' tokens."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from kbit.coders.logits import LogitReader
from kbit.training.finetune.batches import Batch


@dataclass(frozen=True, kw_only=True, slots=True)
class Loss:
    """What a batch costs, as sums.

    Attributes:
        total: differentiable: the loss times `weight`.
        weight: of all examples (labels) or answer tokens (texts) of the batch.
        nats: code length of each example's answer, unweighted, float32 [examples].
        exact: bool [examples]: every token of the answer was the likeliest.
        tokens: answer tokens.
    """

    total: Tensor
    weight: float
    nats: Tensor
    exact: Tensor
    tokens: int


class AnswerLoss:
    """Cross-entropy of answers under a causal language model.

    An answer that is a label counts as one: the loss of an example is -log p(label). Of other answers every
    token counts alike. With a focal exponent an example's loss is (1 - p)^gamma times that, p the probability
    of its whole answer (Lin et al. 2017, equation 4, with an answer in the place of a class).

    Args of the constructor:
        model: trained or evaluated; logits are made at answers only.
        by_label: answers are labels.
        focal_gamma: 0 for none.
        autocast: whether products are taken in bfloat16.
    """

    def __init__(
        self, model: Any, *, by_label: bool, focal_gamma: float = 0.0, autocast: bool = True
    ) -> None:
        self._reader = LogitReader(model)
        self._device = model.device
        self._by_label, self._gamma, self._autocast = by_label, focal_gamma, autocast

    def weight(self, batch: Batch) -> float:
        """What a batch's loss is divided by to give a mean."""
        counted = batch.weights if self._by_label else batch.weights[batch.example]
        return float(counted.sum())

    def __call__(self, batch: Batch) -> Loss:
        """Run the model on a batch."""
        ids = batch.tokens[:, :-1].to(self._device)
        wanted, targets = batch.wanted.to(self._device), batch.targets.to(self._device)
        example, weights = batch.example.to(self._device), batch.weights.to(self._device)
        nats, right, at = [], [], 0
        with torch.autocast(self._device.type, dtype=torch.bfloat16, enabled=self._autocast):
            # Padding stands on the right, where no answer looks under causal attention: no mask is needed.
            for piece in self._reader.pieces(ids, None, wanted):
                follow = targets[at : at + len(piece)]
                nats.append(torch.nn.functional.cross_entropy(piece, follow, reduction="none"))
                right.append(piece.detach().argmax(dim=-1) == follow)
                at += len(piece)
        each, correct = torch.cat(nats), torch.cat(right)
        count = len(batch.tokens)
        of_example = torch.zeros(count, device=self._device).index_add(0, example, each)
        wrong = torch.zeros(count, device=self._device).index_add(0, example, (~correct).float())
        counted = of_example if self._by_label else each
        weight = weights if self._by_label else weights[example]
        if self._gamma:
            missing = -torch.expm1(-of_example)  # 1 - p
            factor = missing.clamp_min(1e-12) ** self._gamma
            counted = counted * (factor if self._by_label else factor[example])
        return Loss(
            total=(counted * weight).sum(),
            weight=float(weight.sum()),
            nats=of_example.detach(),
            exact=wrong == 0,
            tokens=len(each),
        )
