"""Context-tree weighting over bytes: all orders up to a depth at once."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Self

from kbit._text import ContextTree
from kbit.coders.code_lengths import CodeLengths, Json, of_bytes
from kbit.coders.predictor import ByteSymbols, Floats
from kbit.corpus import Document, content_hash
from kbit.errors import CoderError, UsageError

MOST_DEPTH = 32
DEFAULT_DEPTH = 6
DEFAULT_MAX_NODES = 1 << 23  # 336 MB at the most
PIECE_BYTES = 1 << 20


class ContextTreeCoder(ByteSymbols):
    """Adaptive code that mixes all context depths, weighted by how well each did in each context.

    A byte is eight binary decisions; each decision has its own context tree over the bytes before it,
    with Krichevsky-Trofimov estimators in the nodes, each node weighing "these bits do not depend on what
    stood before" against its children, half and half before anything is seen. Over all tree sources of the
    depth at once this costs at most a few bits for each leaf of the true tree more than knowing it.

    Without a baseline text, each document is learnt from nothing. Fitted to one, each document starts from
    what was learnt there, and forgets its own text at its end.

    Source: Willems, Shtarkov & Tjalkens, "The context-tree weighting method: basic properties", IEEE Trans.
    Inf. Theory 41 (1995).

    >>> [round(c.bits, 3) for c in ContextTreeCoder(depth=0).code_lengths([Document(name="a", text="aa")])]
    [11.32]
    """

    version = 1

    def __init__(self, *, depth: int = DEFAULT_DEPTH, max_nodes: int = DEFAULT_MAX_NODES) -> None:
        """Make a coder that knows nothing.

        Args:
            depth: bytes of context, 0 to 32.
            max_nodes: the most nodes of all trees together, 20 to 54 bytes each. Once there are so many, no
                further context is split, and those there go on learning.
        """
        if not 0 <= depth <= MOST_DEPTH:
            raise UsageError(f"a context tree of depth {depth} is asked for; depths are 0 to {MOST_DEPTH}.")
        if max_nodes < 8 * (depth + 1):
            raise UsageError(f"max_nodes is {max_nodes}; one byte alone needs {8 * (depth + 1)}.")
        self.depth = depth
        self.max_nodes = max_nodes
        self.baseline_hash: str | None = None
        self._tree = ContextTree(depth, max_nodes)

    @classmethod
    def fit(
        cls,
        documents: Iterable[Document],
        *,
        depth: int = DEFAULT_DEPTH,
        max_nodes: int = DEFAULT_MAX_NODES,
    ) -> Self:
        """Learn a baseline text first.

        Raises:
            CoderError: the text has no bytes.
        """
        coder = cls(depth=depth, max_nodes=max_nodes)
        coder.baseline_hash = content_hash(coder._learn(documents))
        if not coder._tree.nodes:
            raise CoderError(
                "the baseline text has no bytes, so no context tree can be fitted to it. "
                "Give text with --baseline-text, or take the tree that learns each document from nothing."
            )
        return coder

    def _learn(self, documents: Iterable[Document]) -> Iterator[Document]:
        for document in documents:
            self._tree.begin()
            for _ in self._piece_bits(document):
                pass
            yield document

    def _piece_bits(self, document: Document) -> Iterator[float]:
        content = document.text.encode()
        for start in range(0, len(content), PIECE_BYTES):
            yield float(self._tree.code(content[start : start + PIECE_BYTES]).sum())

    @property
    def name(self) -> str:
        """`ctw-6`; `ctw-6-primed` where it was fitted."""
        return f"ctw-{self.depth}" + ("" if self.baseline_hash is None else "-primed")

    @property
    def settings(self) -> Mapping[str, Json]:
        """Depth, room, and the hash of the text it was fitted to."""
        return {"depth": self.depth, "max_nodes": self.max_nodes, "baseline_text": self.baseline_hash}

    def code_lengths(self, documents: Iterable[Document]) -> Iterator[CodeLengths]:
        """Code length of each document."""
        for document in documents:
            if self.baseline_hash is None:
                self._tree.clear()
                bits = sum(self._piece_bits(document))
            else:
                self._tree.mark(document.bytes)
                self._tree.begin()
                bits = sum(self._piece_bits(document))
                self._tree.rollback()
            yield of_bytes(document, bits)

    def byte_bits(self, document: Document) -> Floats:
        """Bits of each byte of a document; they sum to its code length."""
        predictor = self.predictor()
        return predictor.tree.code(document.text.encode())

    def predictor(self) -> "ContextTreePredictor":
        """A tree of its own, which learns as it goes."""
        tree = ContextTree(self.depth, self.max_nodes) if self.baseline_hash is None else self._tree.copy()
        tree.begin()
        return ContextTreePredictor(tree)


class ContextTreePredictor:
    """Context trees at one place of a text."""

    def __init__(self, tree: ContextTree) -> None:
        self.tree = tree

    def probabilities(self) -> Floats:
        """Probability of each of the 256 bytes."""
        return self.tree.predict()

    def advance(self, symbol: int) -> None:
        """Learn a byte."""
        self.tree.code(bytes([symbol]))
