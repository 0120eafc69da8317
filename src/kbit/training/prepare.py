"""What all rungs of a family read: text, tokeniser, and the stream of tokens, built once below one folder."""

import hashlib
import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from transformers import PreTrainedTokenizerFast

from kbit.corpus.deduplicate import deduplicate
from kbit.corpus.document import Document, content_hash
from kbit.corpus.excerpt import pieces
from kbit.corpus.read import read_documents, write_documents
from kbit.corpus.split import Split, split_by_hash
from kbit.corpus.stdlib import stdlib_split
from kbit.errors import TrainingError
from kbit.training.checkpoint import write_text
from kbit.training.pack import Stream, pack
from kbit.training.recipe import Recipe
from kbit.training.tokenizer import load_tokenizer, train_tokenizer

TRAINING, HELD_OUT, TOKENIZER, TOKENS = "training.jsonl", "held-out.jsonl", "tokenizer", "tokens.npy"
PREPARED = "prepared.json"
VERSION = 1
"""Of everything below: a change that can alter text, tokens or their order raises it."""


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
    return _split(list(read_documents(part.paths)), recipe)


def _split(documents: list[Document], recipe: Recipe) -> Split:
    part = recipe.text
    split = split_by_hash(deduplicate(documents).kept, held_out_share=part.held_out_share)
    if part.held_out_bytes:
        held_out = pieces(
            split.held_out, total_bytes=part.held_out_bytes, piece_bytes=part.held_out_piece_bytes
        )
        split = Split(training=split.training, held_out=held_out)
    return split


def prepare(recipe: Recipe, out: Path) -> Prepared:
    """Build text, tokeniser and token stream below `out`; the same recipe and text give the same files.

    What was built before from the same recipe and the same documents is kept.

    Raises:
        CorpusError: the text cannot be read.
        TrainingError: one side of the split is empty, or the text is too short.
    """
    if recipe.text.source == "paths":
        documents = list(read_documents(recipe.text.paths))
        key = _key(documents, recipe)
        if (known := _known(out, key)) is not None:
            return known
        split = _split(documents, recipe)
    else:
        split, key = read_text(recipe), ""
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
    facts: dict[str, Any] = {
        "context": recipe.model.context,
        "training_hash": content_hash(split.training),
        "training_bytes": stream.bytes,
        "held_out_hash": content_hash(split.held_out),
        "held_out_bytes": sum(document.bytes for document in split.held_out),
        "stream_tokens": len(stream.tokens),
    }
    write_text(out / PREPARED, json.dumps({"key": key, **facts}, indent=2) + "\n")
    return Prepared(folder=out, **facts)


def _key(documents: list[Document], recipe: Recipe) -> str:
    """Hash of all that decides the prepared files, the names of documents among it: they decide the split."""
    digest = hashlib.sha256()
    shared = [VERSION, asdict(recipe.text), asdict(recipe.tokenizer), recipe.model.context, recipe.seed]
    digest.update(json.dumps(shared).encode())
    for document in documents:
        digest.update(f"\n{len(document.name)} {document.name} {document.bytes}\n".encode())
        digest.update(document.text.encode())
    return digest.hexdigest()


def _known(out: Path, key: str) -> Prepared | None:
    try:
        facts = json.loads((out / PREPARED).read_text())
    except (FileNotFoundError, ValueError):
        return None
    whole = all((out / name).exists() for name in (TRAINING, HELD_OUT, TOKENIZER, TOKENS))
    return Prepared(folder=out, **facts) if facts.pop("key", None) == key and whole else None
