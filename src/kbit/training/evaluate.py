"""What the rungs of a family know of the held-out text, and whether neighbours differ."""

import itertools
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from transformers import PreTrainedModel, PreTrainedTokenizerFast

from kbit.coders import CodeLengths, LanguageModelCoder
from kbit.corpus.document import Document
from kbit.errors import TrainingError
from kbit.information import gain
from kbit.training.checkpoint import write_text


@dataclass(frozen=True, kw_only=True, slots=True)
class Neighbours:
    """Two adjacent rungs on the same held-out documents."""

    smaller: str
    larger: str
    gain_bits_per_byte: float
    """Bits per byte of the smaller rung minus those of the larger."""
    standard_error: float | None
    """Over documents, paired; None where there is but one."""

    @property
    def standard_errors(self) -> float | None:
        """The gain in units of its standard error."""
        return None if not self.standard_error else self.gain_bits_per_byte / self.standard_error


def held_out_lengths(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerFast,
    documents: Sequence[Document],
    *,
    name: str,
    context: int,
) -> list[CodeLengths]:
    """Code length of each document under a model, windows advancing by half a context."""
    coder = LanguageModelCoder(model, tokenizer, name=name, context=context)
    return list(coder.code_lengths(documents))


def compare_neighbours(lengths: Sequence[tuple[str, Sequence[CodeLengths]]]) -> list[Neighbours]:
    """The gain of each rung over the one before it.

    Args:
        lengths: name and code lengths of each rung, smallest first, of the same documents.
    """
    found = []
    for (smaller, before), (larger, after) in itertools.pairwise(lengths):
        estimate = gain(after, before)
        found.append(
            Neighbours(
                smaller=smaller,
                larger=larger,
                gain_bits_per_byte=estimate.value,
                standard_error=estimate.standard_error,
            )
        )
    return found


def write_lengths(path: Path, lengths: Sequence[CodeLengths]) -> None:
    """Write code lengths, one JSON object a line."""
    write_text(path, "".join(json.dumps(asdict(item)) + "\n" for item in lengths))


def read_lengths(path: Path) -> list[CodeLengths] | None:
    """Read what `write_lengths` wrote; None where there is nothing."""
    if not path.exists():
        return None
    try:
        return [CodeLengths(**json.loads(line)) for line in path.read_text().splitlines()]
    except (ValueError, TypeError) as error:
        raise TrainingError(f"{path} is damaged ({error}). Remove it; it will be measured again.") from error
