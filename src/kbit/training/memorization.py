"""How many bits a model can hold: it is trained on random tokens, where all it saves it has memorised.

Uniformly random sequences cannot be predicted, only remembered, so the bits a trained model saves on them
are bits it stores (Morris et al. 2025, "How much do language models memorize?", section 3). Their number
grows with the data until the model is full; the most it reaches is its capacity. Quantised afterwards, the
same model tells how many of those bits survive at k bits a weight.
"""

import hashlib
import json
import math
import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from kbit.errors import TrainingError
from kbit.formats import parse_format
from kbit.models import load, stored_bits
from kbit.quantize import quantize_model
from kbit.training.architecture import config_of, new_model, size_of
from kbit.training.checkpoint import write_text
from kbit.training.export import quiet
from kbit.training.memory import keep_freed_memory
from kbit.training.objective import Objective
from kbit.training.reading import read_parts
from kbit.training.recipe import ModelPart, Rung, TrainingPart
from kbit.training.run import DivergedError, new_optimizer, train_step
from kbit.training.schedule import learning_rate

VERSION = 1
DEFAULT_MODEL = ModelPart(architecture="gpt2", context=64, head_width=16)
_SCORED_AT_ONCE = 256


@dataclass(frozen=True, kw_only=True, slots=True)
class Probe:
    """What is memorised: `length` tokens a sequence, uniform over `vocabulary`, and how long it is trained.

    A sequence's first token is given, so it holds (length - 1) x log2(vocabulary) bits: 693 with the
    defaults, which are those of Morris et al.
    """

    vocabulary: int = 2048
    length: int = 64
    sequences: tuple[int, ...] = (256, 512, 1024)
    epochs: int = 400
    formats: tuple[str, ...] = ("bf16",)

    @property
    def bits_per_sequence(self) -> float:
        """Entropy of one sequence, its first token given."""
        return (self.length - 1) * math.log2(self.vocabulary)


@dataclass(frozen=True, kw_only=True, slots=True)
class ProbeRecipe:
    """A memorisation probe over several models and amounts of data. A model's `tokens` are not used."""

    name: str
    models: tuple[Rung, ...]
    seed: int = 0
    probe: Probe = field(default_factory=Probe)
    model: ModelPart = field(default_factory=lambda: DEFAULT_MODEL)
    training: TrainingPart = field(default_factory=TrainingPart)


@dataclass(frozen=True, kw_only=True, slots=True)
class Memorized:
    """One model, trained on so many sequences, at one weight format.

    Attributes:
        model: its name.
        format: the weights' format; `bf16` is the model as trained.
        parameters: of the whole model.
        sequences: how many it was trained on.
        data_bits: entropy of them all.
        memorized_bits: `data_bits` less the code length of all sequences under the model.
        stored_bits: exact, of the whole model.
        loss_bits: bits a token at the end, under this format.
    """

    model: str
    format: str
    parameters: int
    body_parameters: int
    sequences: int
    data_bits: float
    memorized_bits: float
    stored_bits: int
    loss_bits: float

    @property
    def bits_per_parameter(self) -> float:
        """Memorised bits for each parameter."""
        return self.memorized_bits / self.parameters

    @property
    def bits_per_stored_bit(self) -> float:
        """Memorised bits for each bit the model takes."""
        return self.memorized_bits / self.stored_bits


def random_sequences(probe: Probe, count: int, seed: int) -> Tensor:
    """The first `count` of an endless list of uniformly random sequences, [count, length]."""
    generator = np.random.default_rng([seed, 0x6D656D])
    return torch.from_numpy(generator.integers(probe.vocabulary, size=(count, probe.length)))


def memorize(
    recipe: ProbeRecipe, out: Path, *, report: Callable[[str, int, int, float], None] | None = None
) -> list[Memorized]:
    """Train every model on every amount of data, and measure what it holds at every format.

    Args:
        recipe: what to train.
        out: results lie here, one JSON file a training; what is there of this recipe is not trained again.
        report: called with model, step, steps and loss in bits a token.

    Returns:
        One row a model, amount and format.

    Raises:
        TrainingError: a training diverges.
        FormatError: no such format.
    """
    for name in recipe.probe.formats:
        parse_format(name)
    rows: list[Memorized] = []
    out.mkdir(parents=True, exist_ok=True)
    for rung in recipe.models:
        for count in recipe.probe.sequences:
            rows += _one(recipe, rung, count, out, report)
    return rows


def capacity(rows: Sequence[Memorized]) -> list[Memorized]:
    """For each model and format, the row of the amount of data of which it holds most."""
    best: dict[tuple[str, str], Memorized] = {}
    for row in rows:
        key = (row.model, row.format)
        if key not in best or row.memorized_bits > best[key].memorized_bits:
            best[key] = row
    return list(best.values())


def _identity(recipe: ProbeRecipe, rung: Rung, count: int) -> str:
    row = replace(rung, name="", tokens=1)
    probe = replace(recipe.probe, sequences=(count,))
    content = [
        VERSION,
        asdict(row),
        asdict(probe),
        asdict(recipe.model),
        asdict(recipe.training),
        recipe.seed,
    ]
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def _one(
    recipe: ProbeRecipe,
    rung: Rung,
    count: int,
    out: Path,
    report: Callable[[str, int, int, float], None] | None,
) -> list[Memorized]:
    file, identity = out / f"{rung.name}-{count}.json", _identity(recipe, rung, count)
    if file.exists():
        known = json.loads(file.read_text())
        if known["identity"] == identity:
            return [Memorized(**row) for row in known["rows"]]
    sequences = random_sequences(recipe.probe, count, recipe.seed)
    model = _train(recipe, rung, sequences, report)
    work = out / f"{rung.name}-{count}.tmp"
    shutil.rmtree(work, ignore_errors=True)
    try:
        with quiet():
            model.to(torch.bfloat16).save_pretrained(work / "trained")
        rows = list(_measure(recipe, rung, sequences, work))
    finally:
        shutil.rmtree(work, ignore_errors=True)
    content = {"identity": identity, "recipe": recipe.name, "rows": [asdict(row) for row in rows]}
    write_text(file, json.dumps(content, indent=2) + "\n")
    return rows


def _train(
    recipe: ProbeRecipe,
    rung: Rung,
    sequences: Tensor,
    report: Callable[[str, int, int, float], None] | None,
) -> Any:
    keep_freed_memory()
    part, count = recipe.training, len(sequences)
    model = new_model(
        config_of(rung, recipe.model, vocabulary=recipe.probe.vocabulary),
        seed=recipe.seed,
        residual_init=recipe.model.residual_init,
    )
    objective, optimizer = Objective(model, compiled=part.compile), new_optimizer(model, part)
    model.train()
    size = min(part.batch_windows * part.accumulation, count)
    each = count // size
    steps = recipe.probe.epochs * each
    for step in range(steps):
        epoch, place = divmod(step, each)
        if place == 0:
            order = torch.from_numpy(np.random.default_rng([recipe.seed, epoch]).permutation(count))
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(part, hidden=rung.hidden, step=step, steps=steps)
        batch = sequences[order[place * size : (place + 1) * size]]
        loss, norm = train_step(objective, optimizer, batch, part)
        if not math.isfinite(loss) or not math.isfinite(norm):
            raise DivergedError(
                f"{rung.name} on {count} sequences: at step {step} of {steps} the loss is {loss}; lower "
                "training.learning_rate or training.clip_norm."
            )
        if report is not None:
            report(f"{rung.name} on {count}", step, steps, loss / math.log(2))
    return model.eval()


def _measure(recipe: ProbeRecipe, rung: Rung, sequences: Tensor, work: Path) -> Iterator[Memorized]:
    probe = recipe.probe
    size = size_of(rung, recipe.model, probe.vocabulary)
    for number, name in enumerate(probe.formats):
        folder = work / "trained"
        if parse_format(name).is_packed:
            folder = work / f"format-{number}"
            quantize_model(work / "trained", folder, format=name)
        code_length = _code_length(load(folder, dtype=torch.float32), sequences)
        data_bits = len(sequences) * probe.bits_per_sequence
        yield Memorized(
            model=rung.name,
            format=str(parse_format(name)),
            parameters=size.parameters,
            body_parameters=size.body_parameters,
            sequences=len(sequences),
            data_bits=data_bits,
            memorized_bits=data_bits - code_length,
            stored_bits=stored_bits(folder).whole,
            loss_bits=code_length / (len(sequences) * (probe.length - 1)),
        )


@torch.no_grad()
def _code_length(model: Any, sequences: Tensor) -> float:
    """Bits of all sequences under the model, first tokens given; sums in float64."""
    total = 0.0
    for part in torch.split(sequences, _SCORED_AT_ONCE):
        logs = model(input_ids=part[:, :-1], use_cache=False).logits.float().log_softmax(-1)
        total -= float(logs.gather(2, part[:, 1:, None]).sum(dtype=torch.float64))
    return total / math.log(2)


def read_probe(path: Path | str) -> ProbeRecipe:
    """Read and check a memorisation recipe.

    Raises:
        TrainingError: the file is missing, is no TOML, or a key or value is wrong.
    """
    path = Path(path)
    recipe = read_parts(
        path,
        ProbeRecipe,
        {"probe": Probe, "model": ModelPart, "training": TrainingPart},
        rungs="models",
        example="recipes/memorization.toml",
        default_model=DEFAULT_MODEL,
        rung_defaults={"tokens": 1},
    )
    _check(recipe, path)
    return recipe


def _check(recipe: ProbeRecipe, place: Path) -> None:
    probe = recipe.probe
    rules = [
        (probe.vocabulary >= 2, "probe.vocabulary", probe.vocabulary, "2 or more"),
        (probe.length >= 2, "probe.length", probe.length, "2 or more"),
        (recipe.model.context >= probe.length, "model.context", recipe.model.context, "probe.length or more"),
        (
            bool(probe.sequences) and min(probe.sequences, default=0) > 0,
            "probe.sequences",
            probe.sequences,
            "numbers above 0",
        ),
        (probe.epochs > 0, "probe.epochs", probe.epochs, "1 or more"),
        (bool(probe.formats), "probe.formats", probe.formats, "at least one format"),
        (
            recipe.training.batch_windows > 0,
            "training.batch_windows",
            recipe.training.batch_windows,
            "1 or more",
        ),
    ]
    for holds, key, given, allowed in rules:
        if not holds:
            raise TrainingError(f"{place}: {key} is {given!r}; it must be {allowed}.")
