"""What all rungs of a family read: text, tokeniser, and the stream of tokens, built once below one folder."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from transformers import PreTrainedTokenizerFast

from kbit.corpus.deduplicate import deduplicate
from kbit.corpus.document import Document, content_hash
from kbit.corpus.read import read_documents, write_documents
from kbit.corpus.split import Split, split_by_hash
from kbit.corpus.stdlib import stdlib_split
from kbit.errors import TrainingError
from kbit.training.pack import Stream, pack
from kbit.training.recipe import Recipe
from kbit.training.tokenizer import load_tokenizer, train_tokenizer

TRAINING, HELD_OUT, TOKENIZER, TOKENS = "training.jsonl", "held-out.jsonl", "tokenizer", "tokens.npy"


@dataclass(frozen=True, kw_only=True, slots=True)
class Prepared:
    """Where it lies, and which text it is."""

    folder: Path
    context: int
    training_hash: str
    training_bytes: int
    held_out_hash: str
    held_out_bytes: int
    stream_tokens: int

    def tokenizer(self) -> PreTrainedTokenizerFast:
        """The family's tokeniser."""
        return load_tokenizer(self.folder / TOKENIZER)

    def stream(self) -> Stream:
        """The packed training text."""
        tokens = np.load(self.folder / TOKENS, allow_pickle=False)
        return Stream(tokens=tokens, bytes=self.training_bytes, context=self.context)

    def held_out(self) -> list[Document]:
        """The documents no rung is trained on."""
        return list(read_documents([self.folder / HELD_OUT]))


def read_text(recipe: Recipe) -> Split:
    """The recipe's documents, without near duplicates, as training and held-out parts."""
    part = recipe.text
    if part.source == "stdlib":
        return stdlib_split(held_out_share=part.held_out_share)
    kept = deduplicate(read_documents(part.paths)).kept
    return split_by_hash(kept, held_out_share=part.held_out_share)


def prepare(recipe: Recipe, out: Path) -> Prepared:
    """Build text, tokeniser and token stream below `out`; the same recipe and text give the same files.

    Raises:
        CorpusError: the text cannot be read.
        TrainingError: one side of the split is empty, or the text is too short.
    """
    split = read_text(recipe)
    if not split.training or not split.held_out:
        raise TrainingError(
            f"the split leaves {len(split.training)} training and {len(split.held_out)} held-out documents; "
            "both need at least one. Give more documents or another text.held_out_share."
        )
    tokenizer = train_tokenizer(
        split.training, vocabulary=recipe.tokenizer.vocabulary, alphabet=recipe.tokenizer.alphabet
    )
    tokenizer.model_max_length = recipe.model.context
    stream = pack(split.training, tokenizer, context=recipe.model.context, seed=recipe.seed)
    out.mkdir(parents=True, exist_ok=True)
    write_documents(out / TRAINING, split.training)
    write_documents(out / HELD_OUT, split.held_out)
    tokenizer.save_pretrained(out / TOKENIZER)
    np.save(out / TOKENS, stream.tokens, allow_pickle=False)
    return Prepared(
        folder=out,
        context=recipe.model.context,
        training_hash=content_hash(split.training),
        training_bytes=stream.bytes,
        held_out_hash=content_hash(split.held_out),
        held_out_bytes=sum(document.bytes for document in split.held_out),
        stream_tokens=len(stream.tokens),
    )
