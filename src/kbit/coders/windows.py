"""Windows over the tokens of a document: each token scored once, whatever the context and the stride."""

from collections.abc import Iterator
from dataclasses import dataclass

from kbit.errors import UsageError


@dataclass(frozen=True, kw_only=True, slots=True)
class Window:
    """The tokens `start` to `end` of a document, of which those from `scored_from` on are scored here.

    A model reads one token before `start` (the prefix, where the document begins) and then the window's
    tokens but the last: `end - start` tokens, which predict the window's.
    """

    start: int
    scored_from: int
    end: int

    @property
    def length(self) -> int:
        """Tokens the model reads, and tokens it predicts."""
        return self.end - self.start


@dataclass(frozen=True, kw_only=True, slots=True)
class WindowPlan:
    """How documents are cut into windows.

    Attributes:
        context: the most tokens a model reads at once, the prefix or what stands in its place among them.
        stride: tokens from one window's start to the next one's, 1 to `context`. A further window reads
            `context - stride` scored tokens again, so its first new token has that many before it and the
            head; at `stride == context` only the head, at 1 nearly a whole context for every token.
    """

    context: int
    stride: int

    def __post_init__(self) -> None:
        if self.context < 1:
            raise UsageError(f"the context is {self.context}; give at least 1 token with --context.")
        if not 1 <= self.stride <= self.context:
            raise UsageError(
                f"the stride is {self.stride}; give 1 to {self.context} with --stride: a longer one than the "
                "context would leave tokens out."
            )

    def windows(self, tokens: int) -> Iterator[Window]:
        """Windows of a document of so many tokens.

        >>> [(w.start, w.scored_from, w.end) for w in WindowPlan(context=4, stride=3).windows(8)]
        [(0, 0, 4), (3, 4, 7), (6, 7, 8)]
        """
        start, done = 0, 0
        while done < tokens:
            end = min(start + self.context, tokens)
            yield Window(start=start, scored_from=done, end=end)
            start, done = start + self.stride, end
