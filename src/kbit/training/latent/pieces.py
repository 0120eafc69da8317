"""Training text as pieces, in batches of like lengths that follow from seed and step alone."""

import hashlib
import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor
from transformers import PreTrainedTokenizerFast

from kbit.coders.pieces import Piece, batch_of, pieces_of
from kbit.coders.tokens import find_prefix
from kbit.corpus.deduplicate import deduplicate
from kbit.corpus.document import Document, content_hash
from kbit.corpus.read import ReadOptions, read_documents, write_documents
from kbit.corpus.split import Split, split_by_hash
from kbit.errors import TrainingError
from kbit.training.checkpoint import write_text
from kbit.training.latent.recipe import LatentRecipe
from kbit.training.prepare import HELD_OUT, PREPARED, TOKENIZER, TRAINING
from kbit.training.tokenizer import load_tokenizer, train_tokenizer

GROUP = 16
"""Batches whose pieces are sorted by length together: less padding, and still a random order."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pieces:
    """What all variants of a recipe read."""

    tokenizer: PreTrainedTokenizerFast
    training: list[Piece]
    held_out: list[Document]
    text_hash: str

    @property
    def begin(self) -> int:
        """The token before a piece."""
        return find_prefix(self.tokenizer).id

    @property
    def end(self) -> int:
        """The token after it."""
        return int(self.tokenizer.eos_token_id)

    def batch(self, *, step: int, texts: int, seed: int) -> tuple[Tensor, Tensor]:
        """Rows of tokens and their mask for a step; see `batch_of`."""
        per_epoch = max(1, len(self.training) // (texts * GROUP))
        group, place = divmod(step, GROUP)
        epoch, group = divmod(group, per_epoch)
        random = np.random.default_rng([seed, epoch])
        order = random.permutation(len(self.training))
        chosen = order[group * texts * GROUP : (group + 1) * texts * GROUP]
        lengths = [len(self.training[i].ids) for i in chosen]
        chosen = chosen[np.argsort(lengths, kind="stable")]
        batches = np.array_split(chosen, min(GROUP, len(chosen)))
        which = np.random.default_rng([seed, epoch, group]).permutation(len(batches))
        rows = [self.training[i] for i in batches[which[place % len(batches)]]]
        return batch_of(rows, begin=self.begin, end=self.end)


def prepare_pieces(recipe: LatentRecipe, out: Path) -> Pieces:
    """Text, tokeniser and pieces below `out`; what was built from the same recipe and text is kept.

    Raises:
        CorpusError: the text cannot be read.
        TrainingError: one side of the split is empty, or the text is too short.
    """
    split = _split(recipe)
    facts = {"text": asdict(recipe.text), "tokenizer": asdict(recipe.tokenizer)}
    hashes = {"training": content_hash(split.training), "held_out": content_hash(split.held_out)}
    key = hashlib.sha256(json.dumps([1, facts, hashes], sort_keys=True).encode()).hexdigest()
    if _key_of(out) != key:
        tokenizer = train_tokenizer(
            split.training, vocabulary=recipe.tokenizer.vocabulary, alphabet=recipe.tokenizer.alphabet
        )
        out.mkdir(parents=True, exist_ok=True)
        write_documents(out / TRAINING, split.training)
        write_documents(out / HELD_OUT, split.held_out)
        tokenizer.save_pretrained(out / TOKENIZER)
        write_text(out / PREPARED, json.dumps({"key": key, **hashes}, indent=2) + "\n")
    tokenizer = load_tokenizer(out / TOKENIZER)
    longest = recipe.model.context - 2
    pieces = [
        piece
        for document in split.training
        for piece in pieces_of(document, tokenizer, kind=recipe.model.pieces, longest=longest)[0]
    ]
    if len(pieces) < recipe.training.batch_texts:
        raise TrainingError(
            f"the training text has {len(pieces)} pieces, fewer than the {recipe.training.batch_texts} of a "
            "step. Give more text or a smaller training.batch_texts."
        )
    return Pieces(tokenizer=tokenizer, training=pieces, held_out=split.held_out, text_hash=hashes["training"])


def _key_of(out: Path) -> Any:
    try:
        return json.loads((out / PREPARED).read_text())["key"]
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _split(recipe: LatentRecipe) -> Split:
    part = recipe.text
    documents = []
    for document in read_documents(part.paths, ReadOptions(field=part.field)):
        texts = [document.text] if part.separator is None else document.text.split(part.separator)
        kept = [text.strip() for text in texts] if part.separator is not None else texts
        named = len(kept) > 1
        documents += [
            Document(name=f"{document.name} {i}" if named else document.name, text=text)
            for i, text in enumerate(kept)
            if text.strip()
        ]
    split = split_by_hash(deduplicate(documents).kept, held_out_share=part.held_out_share)
    split = Split(
        training=split.training[: part.training_documents], held_out=split.held_out[: part.held_out_documents]
    )
    if not split.training or not split.held_out:
        raise TrainingError(
            f"the split leaves {len(split.training)} training and {len(split.held_out)} held-out documents; "
            "both need at least one. Give more documents, a text.separator, or another text.held_out_share."
        )
    return split
