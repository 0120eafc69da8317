"""A GAN beside the temperature sweep of the generator it began as, on the plane of quality and diversity.

A text GAN that writes better but more alike than the maximum-likelihood model may only have cooled it: a
lower temperature does the same for nothing (Caccia et al. 2020, "Language GANs falling short"). So it is
judged against the sweep at its own entropy.
"""

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from kbit.coders import Coder
from kbit.coders.pieces import split_text
from kbit.corpus.document import Document
from kbit.errors import TrainingError
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

VERSION = 1
BATCH = 50
SHOWN = ("cross_entropy", "decoding_entropy", "implausibility", "distinct_2", "self_bleu", "novelty_4")


@dataclass(frozen=True, kw_only=True, slots=True)
class PlanePoint:
    """One generator at one temperature: all of `kbit compare`'s figures."""

    name: str
    temperature: float
    comparison: Comparison


@dataclass(frozen=True, kw_only=True, slots=True)
class Verdict:
    """A GAN against the sweep at equal entropy.

    Attributes:
        difference: cross-entropy under the scorer, GAN less sweep, bits per byte; below 0 the GAN writes
            likelier text of the same variety. None where its entropy lies outside the sweep's.
        ci95: its interval, over texts.
        winner: `gan`, `sweep`, or `undecided`.
        reason: in words.
    """

    difference: float | None
    ci95: tuple[float, float] | None
    winner: str
    reason: str


def sample_file(
    folder: Path, out: Path, *, texts: int, temperature: float, seed: int, name: str | None = None
) -> list[Continuation]:
    """Draw texts from a latent or plain model into a file as `kbit generate --out` writes it.

    Latent vectors are drawn from the prior; their own bits are not part of a text's, so where there is a
    latent space the bits of tokens are those given the vector, and no entropy is told.

    Args:
        folder: a latent model.
        out: the file; one that holds the same is kept.
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
    """All figures of one generator's texts, of all seeds together."""
    found = compare(texts, human, scorer=scorer, train=train, options=Options(seed=seed))
    return PlanePoint(name=name, temperature=temperature, comparison=found)


def judge(gan: PlanePoint, sweep: Sequence[PlanePoint]) -> Verdict:
    """The GAN against the sweep, whose cross-entropy is interpolated at the GAN's entropy.

    Intervals of the three points are taken as independent: their texts are.
    """
    points = sorted((_entropy(p)[0], *_cross(p)) for p in sweep)
    x = _entropy(gan)[0]
    y, y_error = _cross(gan)
    if len(points) < 2 or not points[0][0] <= x <= points[-1][0]:
        ends = f"{points[0][0]:.3f} to {points[-1][0]:.3f}" if points else "nothing"
        return Verdict(
            difference=None,
            ci95=None,
            winner="undecided",
            reason=f"the GAN's entropy, {x:.3f} bits per byte, lies outside the sweep's {ends}: give more "
            "temperatures",
        )
    for left, right in itertools.pairwise(points):
        if left[0] <= x <= right[0]:
            share = 0.0 if right[0] == left[0] else (x - left[0]) / (right[0] - left[0])
            level = left[1] + share * (right[1] - left[1])
            error = math.hypot(y_error, (1 - share) * left[2], share * right[2])
            break
    difference = y - level
    low, high = difference - 1.96 * error, difference + 1.96 * error
    winner = "gan" if high < 0 else "sweep" if low > 0 else "undecided"
    words = {
        "gan": "at its own entropy the GAN's texts are likelier than the sweep's",
        "sweep": "at the GAN's entropy the maximum-likelihood generator's texts are likelier",
        "undecided": "the interval holds 0",
    }
    return Verdict(difference=difference, ci95=(low, high), winner=winner, reason=words[winner])


def _entropy(point: PlanePoint) -> tuple[float, float]:
    return _value(point, "decoding_entropy")


def _cross(point: PlanePoint) -> tuple[float, float]:
    return _value(point, "cross_entropy")


def _value(point: PlanePoint, name: str) -> tuple[float, float]:
    found = point.comparison.figures[name].generated
    if found is None:
        raise TrainingError(f"{point.name} has no {name}: {point.comparison.figures[name].reason}.")
    return found.value, found.standard_error or 0.0
