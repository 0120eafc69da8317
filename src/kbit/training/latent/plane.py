"""A GAN beside the temperature sweep of the generator it began as, on the plane of quality and diversity.

A text GAN that writes better but more alike than the maximum-likelihood model may only have cooled it: a
lower temperature does the same for nothing (Caccia et al. 2020, "Language GANs falling short"). So it is
judged against the sweep at its own entropy.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from kbit.coders import Coder
from kbit.coders.pieces import split_text
from kbit.corpus.document import Document
from kbit.errors import TrainingError
from kbit.information.generated.bits import conditional_bits
from kbit.information.generated.compare import Comparison, compare
from kbit.information.generated.continuation import (
    Continuation,
    of_documents,
    read_continuations,
    write_lines,
)
from kbit.information.generated.figure import Options
from kbit.models import load, load_tokenizer
from kbit.models.latent.sampling import sample
from kbit.training.latent.verdict import TextBits

BATCH = 50


@dataclass(frozen=True, kw_only=True, slots=True)
class PlanePoint:
    """One generator at one temperature: all of `kbit compare`'s figures, and each text's bits."""

    name: str
    temperature: float
    comparison: Comparison
    bits: TextBits


def sample_file(
    folder: Path, out: Path, *, texts: int, temperature: float, seed: int, name: str | None = None
) -> list[Continuation]:
    """Draw texts from a latent or plain model into a file as `kbit generate --out` writes it.

    Latent vectors are drawn from the prior; their own bits are not part of a text's, so where there is a
    latent space the bits of tokens are those given the vector, and no entropy is told.

    Args:
        folder: a latent model.
        out: the file; one that is there is written anew.
        texts: how many.
        temperature: of the tokens.
        seed: of all draws.
        name: what the lines call the model.
    """
    model, tokenizer = load(folder, dtype=torch.float32), load_tokenizer(folder)
    if not hasattr(model, "latent_size"):
        raise TrainingError(f"{folder} is no model with a latent space: `kbit generate` draws from it.")
    generator = torch.Generator().manual_seed(seed)
    begin, end = int(tokenizer.bos_token_id), int(tokenizer.eos_token_id)
    lines: list[dict[str, Any]] = []
    while len(lines) < texts:
        count = min(BATCH, texts - len(lines))
        z = model.prior.sample(count, generator) if model.latent_size else None
        made = sample(
            model, z, texts=count, begin=begin, end=end, temperature=temperature, generator=generator
        )
        for tokens, drawn, own in zip(made.tokens, made.decoding_bits, made.model_bits, strict=True):
            number = len(lines)
            bits = {} if z is not None else {"decoding_bits": drawn, "model_bits": own}
            lines.append(
                {
                    "name": f"{seed}-{number}",
                    "source": f"{seed}-{number}",
                    "text": tokenizer.decode(tokens),
                    "tokens": tokens,
                    "seed": seed,
                    "model": name or folder.name,
                    "temperature": temperature,
                    "max_new_tokens": model.config.max_position_embeddings - 1,
                    **bits,
                }
            )
    out.parent.mkdir(parents=True, exist_ok=True)
    write_lines(out, lines)
    return read_continuations(out)


def human_pieces(documents: Sequence[Document], *, kind: str, texts: int) -> list[Continuation]:
    """So many held-out pieces, spread evenly over all, as generated texts are cut."""
    found = [
        Document(name=f"{document.name} {i}", text=part.strip())
        for document in documents
        for i, part in enumerate(split_text(document.text, kind))
        if part.strip()
    ]
    every = max(1, len(found) // texts)
    return of_documents(found[::every][:texts])


def place(
    texts: Sequence[Continuation],
    human: Sequence[Continuation],
    *,
    name: str,
    temperature: float,
    scorer: Coder,
    train: Sequence[Document],
    seed: int = 0,
) -> PlanePoint:
    """All figures of one generator's texts, of all seeds together.

    Raises:
        TrainingError: the texts do not tell the bits they were drawn with.
    """
    found = compare(texts, human, scorer=scorer, train=train, options=Options(seed=seed))
    drawn = [text.decoding_bits for text in texts]
    if None in drawn:
        raise TrainingError(f"{name} does not tell the bits of its tokens, so its entropy is not known.")
    sums = np.array([conditional_bits(scorer, texts), drawn, [t.bytes for t in texts]], dtype=np.float64).T
    seeds = np.array([text.seed or 0 for text in texts], dtype=np.int64)
    return PlanePoint(
        name=name, temperature=temperature, comparison=found, bits=TextBits(sums=sums, seeds=seeds)
    )
