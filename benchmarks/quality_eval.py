"""What `quality_per_bit.py` measures with: one forward pass in float32 for every contestant.

A contestant is a set of dense weights; all else of the model stays as it is. Predictions are compared with
those of the 16-bit model, token by token, and summed by document.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from kbit.coders.tokens import find_prefix
from kbit.corpus import Document
from kbit.models.load import load, load_tokenizer

CONTEXT = 512
BATCH = 8


@dataclass(frozen=True, kw_only=True, slots=True)
class Sums:
    """By document: bits of the text, bits of KL divergence, both over its tokens; bytes."""

    bits: np.ndarray
    kl_bits: np.ndarray
    tokens: np.ndarray
    bytes: np.ndarray


class Yardstick:
    """A model, a text, and the model's own predictions on it.

    Args of the constructor:
        folder: the 16-bit model.
        documents: held-out text; they are taken in turn until `tokens` is reached.
        tokens: about how many are predicted.
        of_each: at most so many of a document, its first: more documents make an interval truer.
    """

    def __init__(self, folder: Path, documents: Sequence[Document], tokens: int, of_each: int) -> None:
        self.model: Any = load(folder, dtype=torch.float32).eval()
        self.original = {n: m.weight.detach().clone() for n, m in self.linears().items()}
        tokenizer = load_tokenizer(folder)
        prefix = find_prefix(tokenizer, None).id
        self.windows: list[tuple[int, Tensor, Tensor]] = []
        self.documents: list[Document] = []
        self.bytes: list[int] = []
        total = 0
        for document in documents:
            whole = tokenizer(document.text, add_special_tokens=False)["input_ids"]
            ids = whole[:of_each]
            for start in range(0, len(ids), CONTEXT):
                part = ids[start : start + CONTEXT]
                before = prefix if start == 0 or prefix is not None else ids[start - 1]
                given = torch.tensor([before, *part[:-1]])
                self.windows.append((len(self.documents), given, torch.tensor(part)))
            self.documents.append(document)
            self.bytes.append(
                document.bytes if len(ids) == len(whole) else len(tokenizer.decode(ids).encode())
            )
            total += len(ids)
            if total >= tokens:
                break
        self.tokens = total
        self.windows.sort(key=lambda w: -len(w[1]))
        self.reference: list[Tensor] = []
        self.sums = self._measure(keep=True)

    def linears(self) -> dict[str, nn.Linear]:
        """The body's linear layers, by name."""
        head = self.model.get_output_embeddings()
        return {n: m for n, m in self.model.named_modules() if isinstance(m, nn.Linear) and m is not head}

    def measure(self, weights: Mapping[str, Tensor]) -> Sums:
        """Predictions with these weights in place of the model's; those not named stay as they are."""
        for name, module in self.linears().items():
            module.weight.data.copy_(weights.get(name, self.original[name]).float())
        return self._measure(keep=False)

    @torch.inference_mode()
    def _measure(self, *, keep: bool) -> Sums:
        count = len(self.documents)
        bits, kl, tokens = np.zeros(count), np.zeros(count), np.zeros(count)
        at = 0
        while at < len(self.windows):
            length = len(self.windows[at][1])
            group = [w for w in self.windows[at : at + BATCH] if len(w[1]) == length]
            logits = self.model(torch.stack([g for _, g, _ in group]), use_cache=False).logits
            for row, (number, _, target) in enumerate(group):
                log_q = logits[row].float().log_softmax(dim=-1)
                if keep:
                    self.reference.append(log_q.clone())
                log_p = self.reference[at + row]
                d = log_q - log_p
                # sum p (e^d - 1 - d): no term is negative, so small divergences keep their digits.
                kl[number] += float((log_p.exp() * (d.expm1() - d)).sum(dtype=torch.float64)) / math.log(2)
                own = log_q.gather(1, target[:, None]).double()
                bits[number] -= float(own.sum()) / math.log(2)
                tokens[number] += len(target)
            at += len(group)
        sizes = np.array(self.bytes, dtype=float)
        return Sums(bits=bits, kl_bits=kl, tokens=tokens, bytes=sizes)
