"""Eight bits for every byte: what is known by who knows nothing."""

from collections.abc import Iterable, Iterator, Mapping

from kbit.coders.code_lengths import CodeLengths, Json, of_bytes
from kbit.corpus import Document


class UniformCoder:
    """Each byte is one of 256, all alike.

    >>> [c.bits for c in UniformCoder().code_lengths([Document(name="a", text="é!")])]
    [24.0]
    """

    name = "uniform"
    version = 1

    @property
    def settings(self) -> Mapping[str, Json]:
        """There is nothing to set."""
        return {}

    def code_lengths(self, documents: Iterable[Document]) -> Iterator[CodeLengths]:
        """Eight bits a byte."""
        for document in documents:
            yield of_bytes(document, 8.0 * document.bytes)
