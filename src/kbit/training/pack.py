"""Documents packed end to end into one stream of tokens, and the windows of each step cut from it.

A window is a pure function of seed and step: the place of a run in its data is its step, nothing more.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from transformers import PreTrainedTokenizerFast

from kbit.corpus.document import Document
from kbit.errors import TrainingError


@dataclass(frozen=True, kw_only=True, slots=True)
class Stream:
    """All training tokens in order, every document behind one BOS.

    Attributes:
        tokens: [count], unsigned 32-bit.
        bytes: UTF-8 bytes of the text they spell.
        context: tokens of a window.
    """

    tokens: npt.NDArray[np.uint32]
    bytes: int
    context: int

    @property
    def windows_per_epoch(self) -> int:
        """Whole windows in one pass, whatever its offset."""
        return (len(self.tokens) - self.context - 1) // self.context

    def batch(self, *, step: int, windows: int, seed: int) -> npt.NDArray[np.int64]:
        """The windows of one step, [windows, context + 1]: inputs and the tokens that follow them.

        Each epoch goes through the stream once, in an order and from an offset of its own.
        """
        rows = []
        for index in range(step * windows, (step + 1) * windows):
            epoch, place = divmod(index, self.windows_per_epoch)
            offset, order = self._epoch(epoch, seed)
            start = offset + int(order[place]) * self.context
            rows.append(self.tokens[start : start + self.context + 1])
        return np.stack(rows).astype(np.int64)

    def _epoch(self, epoch: int, seed: int) -> tuple[int, npt.NDArray[np.int64]]:
        generator = np.random.default_rng([seed, epoch])
        return int(generator.integers(self.context)), generator.permutation(self.windows_per_epoch)


def pack(
    documents: Iterable[Document], tokenizer: PreTrainedTokenizerFast, *, context: int, seed: int
) -> Stream:
    """Encode documents and lay them end to end in an order that depends on the seed.

    Raises:
        TrainingError: the text does not fill two windows.
    """
    ordered = sorted(documents, key=lambda document: document.name)
    order = np.random.default_rng([seed, 0x7061636B]).permutation(len(ordered))
    texts = [ordered[i] for i in order]
    encoded = [
        np.array(tokenizer(document.text, verbose=False)["input_ids"], dtype=np.uint32) for document in texts
    ]
    tokens = np.concatenate(encoded) if encoded else np.zeros(0, dtype=np.uint32)
    if len(tokens) < 2 * context + 1:
        raise TrainingError(
            f"the training text has {len(tokens):,} tokens, fewer than two windows of {context}. "
            "Give more text or a shorter context."
        )
    return Stream(tokens=tokens, bytes=sum(document.bytes for document in texts), context=context)
