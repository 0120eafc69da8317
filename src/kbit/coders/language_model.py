"""A language model as a coder."""

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from kbit.coders.code_lengths import CodeLengths, Json
from kbit.coders.language_model_steps import LanguageModelPredictor, weights_hash
from kbit.coders.logits import LogitReader, evaluating, max_positions
from kbit.coders.scoring import Batching, Floats, WindowBatch, length_step, token_values
from kbit.coders.tokens import Prefix, Tokenised, decode_tokens, find_prefix, lossless_tokens, tokenise
from kbit.coders.windows import WindowPlan
from kbit.corpus import Document
from kbit.errors import CoderError, UsageError
from kbit.models.numerics import numerics_of

DEFAULT_CONTEXT = 2048


@dataclass(frozen=True, kw_only=True, slots=True)
class TokenBits:
    """A document, its tokens, and the bits of each."""

    document: Document
    ids: list[int]
    bits: Floats
    """float64 [tokens]."""
    bytes_lost: int


class LanguageModelCoder:
    """Codes each token of a document with a causal language model's probability for it.

    A document's code length is -sum log2 p(token | tokens before it in its window), logits in float32, sums
    in float64. The prefix is given, not coded; the end of the text is not coded. Windows are those of
    `WindowPlan`; by default every window begins with the prefix (many models put attention on it, and are
    far worse without).
    """

    version = 1

    def __init__(
        self,
        model: Any,
        tokenizer: Any,
        *,
        name: str,
        context: int | None = None,
        stride: int | None = None,
        batch_size: int | None = None,
        prefix: str | int | None = None,
        repeat_prefix: bool = True,
    ) -> None:
        """Prepare to code.

        Args:
            model: a Transformers causal language model, of any weights and any number of bits.
            tokenizer: its tokeniser.
            name: what to call it.
            context: the most tokens the model reads at once, the prefix among them; by default what it was
                built for, but at most 2048.
            stride: tokens from one window to the next; by default half the context.
            batch_size: windows run together; by default one on a CPU, where more are no faster, and elsewhere
                as many as make about 4096 tokens. More than one changes figures by rounding (about 1e-8 of
                them), because kernels add up in another order.
            prefix: the token before a document, as the vocabulary spells it or its number; by default the
                tokeniser's begin-of-text token, else its end-of-text token.
            repeat_prefix: begin further windows of a document with the prefix, or with the token before.

        Raises:
            UsageError: context, stride, batch size or prefix is out of range.
            CoderError: there is no prefix, or tokens of the tokeniser are none of the model's.
        """
        self.name = name
        self.model = model
        self.tokenizer = tokenizer
        self.prefix: Prefix = find_prefix(tokenizer, prefix)
        self.plan = window_plan(model.config, context=context, stride=stride)
        if batch_size is not None and batch_size < 1:
            raise UsageError(f"the batch size is {batch_size}; give at least 1.")
        self.reader = LogitReader(model)
        self.batching = Batching(
            plan=self.plan,
            prefix=self.prefix.id,
            repeat_prefix=repeat_prefix,
            size=default_batch_size(model.device) if batch_size is None else batch_size,
            device=model.device,
            length_step=length_step(self.reader.dtype),
        )

    @property
    def settings(self) -> Mapping[str, Json]:
        """Context, stride and prefix."""
        return {
            "context": self.plan.context,
            "stride": self.plan.stride,
            "prefix": self.prefix.id,
            "prefix_rule": self.prefix.rule,
            "repeat_prefix": self.batching.repeat_prefix,
        }

    @property
    def numerics(self) -> Mapping[str, Json]:
        """In what numbers the run is done."""
        dtype = str(self.reader.dtype).removeprefix("torch.")
        found = {"forward": dtype, "logits": "float32", "sums": "float64", "device": self.model.device.type}
        products = numerics_of(self.model)
        return found if products == "a16" else found | {"activations": products}

    def code_lengths(self, documents: Iterable[Document]) -> Iterator[CodeLengths]:
        """Code length of each document, streamed.

        Raises:
            CoderError: the model gives a token that comes no probability, or not a number.
        """
        for scored in self.token_bits(documents):
            yield CodeLengths(
                document=scored.document.name,
                bits=math.fsum(scored.bits),
                bytes=scored.document.bytes,
                characters=scored.document.characters,
                tokens=len(scored.ids),
                bytes_lost=scored.bytes_lost,
            )

    def token_bits(self, documents: Iterable[Document]) -> Iterator[TokenBits]:
        """Bits of each token of each document, streamed."""
        tokenised = tokenise_all(self.tokenizer, documents, vocabulary=self.reader.vocabulary)
        with evaluating(self.model):
            for item, values in token_values(tokenised, self.batching, self._bits, columns=1):
                bits = values[:, 0]
                check_finite(bits, item, self.name)
                yield TokenBits(document=item.document, ids=item.ids, bits=bits, bytes_lost=item.bytes_lost)

    def to_symbols(self, content: bytes) -> Sequence[int]:
        """Tokens of a text.

        Raises:
            CoderError: it is not UTF-8, or its tokens do not give it back.
        """
        return lossless_tokens(self.tokenizer, content, vocabulary=self.reader.vocabulary)

    def to_bytes(self, symbols: Sequence[int]) -> bytes:
        """The text of tokens."""
        return decode_tokens(self.tokenizer, symbols)

    def predictor(self) -> LanguageModelPredictor:
        """The model at the beginning of a document, for coding token by token."""
        self.model.eval()
        return LanguageModelPredictor(self.model, self.reader, self.batching, name=self.name)

    def content_hash(self) -> str:
        """SHA-256 of weights, tokeniser and numerics: what has to be equal for equal predictions."""
        return f"{weights_hash(self.model, self.tokenizer)} {sorted(self.numerics.items())}"

    def _bits(self, batch: WindowBatch) -> Floats:
        parts: list[Tensor] = []
        done = 0
        for logits in self.reader.pieces(batch.ids, batch.mask, batch.scored):
            parts.append(target_bits(logits, batch.targets[done : done + len(logits)]))
            done += len(logits)
        result: Floats = torch.cat(parts).cpu().numpy()[:, None]
        return result


def target_bits(logits: Tensor, targets: Tensor) -> Tensor:
    """-log2 softmax(logits) at the targets, float64 [positions].

    The exponentials are float32; their sum, the logarithm and the difference are float64: the result is as
    good as the logits are.

    Args:
        logits: float32 [positions, vocabulary].
        targets: int64 [positions].
    """
    top = logits.max(dim=-1, keepdim=True).values
    normaliser = (logits - top).exp_().sum(dim=-1, dtype=torch.float64).log_()
    own = logits.gather(1, targets[:, None])
    return (normaliser + (top.double() - own.double())[:, 0]) / math.log(2)


def window_plan(config: Any, *, context: int | None, stride: int | None) -> WindowPlan:
    """Windows for a model: what is not given takes its default, and no context is longer than the model's.

    Raises:
        UsageError: the context is longer than the model can read, or the two do not go together.
    """
    longest = max_positions(config)
    if context is None:
        context = min(longest or DEFAULT_CONTEXT, DEFAULT_CONTEXT)
    elif longest is not None and context > longest:
        raise UsageError(
            f"the context is {context} tokens, but this model reads at most {longest}. "
            f"Give --context {longest} or less."
        )
    return WindowPlan(context=context, stride=max(1, context // 2) if stride is None else stride)


def default_batch_size(device: torch.device) -> int | None:
    """Windows run together where nothing is said: one on a CPU; None for about 4096 tokens."""
    return 1 if device.type == "cpu" else None


def tokenise_all(tokenizer: Any, documents: Iterable[Document], *, vocabulary: int) -> Iterator[Tokenised]:
    """Tokenise documents one by one, and see that the model knows their tokens.

    Raises:
        CoderError: a token's number is beyond the model's vocabulary.
    """
    for document in documents:
        item = tokenise(tokenizer, document)
        if item.ids and max(item.ids) >= vocabulary:
            raise CoderError(
                f"the tokeniser gives token {max(item.ids)} in document {document.name!r}, but the model has "
                f"{vocabulary} tokens. Model and tokeniser do not belong together."
            )
        yield item


def check_finite(figures: Floats, item: Tokenised, name: str) -> None:
    """Refuse a figure that is not a finite number, naming where it arose."""
    wrong = np.flatnonzero(~np.isfinite(figures))
    if len(wrong):
        raise CoderError(
            f"{name} gives token {wrong[0]} of document {item.document.name!r} {figures[wrong[0]]} bits: its "
            "logits are not numbers, or rule the token out. Try --dtype float32; if that does not help, the "
            "weights are damaged."
        )
