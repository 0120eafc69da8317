"""A recipe: the text, the tokeniser, the family of models and the schedule, as one TOML file says it."""

import hashlib
import json
import tomllib
from dataclasses import MISSING, asdict, dataclass, fields
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, TypeVar, get_args, get_origin, get_type_hints

from kbit.errors import TrainingError, did_you_mean

_Part = TypeVar("_Part")


@dataclass(frozen=True, kw_only=True, slots=True)
class TextPart:
    """Where the text comes from and what is held out.

    `source = "stdlib"` is what the running Python carries; otherwise `paths` are read as `kbit.corpus` reads
    them, near duplicates removed, and split by hash of their names. Of long held-out documents (books),
    pieces of `held_out_piece_bytes` spread evenly over all can stand for the whole, `held_out_bytes` in all
    (0: everything, uncut).
    """

    source: str = "paths"
    paths: tuple[str, ...] = ()
    held_out_share: float = 0.07
    held_out_bytes: int = 0
    held_out_piece_bytes: int = 8192


@dataclass(frozen=True, kw_only=True, slots=True)
class TokenizerPart:
    """Size of the byte-fallback BPE: tokens in all, and characters that have a token."""

    vocabulary: int = 2048
    alphabet: int = 97


@dataclass(frozen=True, kw_only=True, slots=True)
class ModelPart:
    """What all rungs share. `context` is in tokens; `key_value_groups` query heads share a key head.

    `residual_init` is how matrices that write to the residual stream start: at `zero`, so that every layer
    begins as the identity (Zhang et al. 2019, Fixup; seen here to learn markedly faster), or `scaled` down by
    (2 x layers) ** -0.5 as in GPT-2.
    """

    architecture: str = "llama"
    context: int = 512
    head_width: int = 32
    key_value_groups: int = 1
    rope_theta: float = 10_000.0
    residual_init: str = "zero"


@dataclass(frozen=True, kw_only=True, slots=True)
class TrainingPart:
    """Optimiser and schedule. Shares are of the steps; `learning_rate` holds at width `reference_hidden`."""

    batch_windows: int = 16
    accumulation: int = 1
    learning_rate: float = 6e-3
    reference_hidden: int = 128
    warmup_share: float = 0.03
    decay_share: float = 0.4
    weight_decay: float = 0.1
    beta1: float = 0.9
    beta2: float = 0.98
    clip_norm: float = 1.0
    checkpoint_steps: int = 100
    compile: bool = True


@dataclass(frozen=True, kw_only=True, slots=True)
class Rung:
    """One model of the family: widths, depth, and the number of tokens it is trained on.

    `branches` are smaller token counts: the learning rate is decayed towards them too, on side branches of
    the one run, so several token counts cost little more than the largest (Hu et al. 2024, section 4.3).
    """

    name: str
    hidden: int
    layers: int
    intermediate: int
    tokens: int
    branches: tuple[int, ...] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class Recipe:
    """Everything that decides the weights, but for the versions of the libraries and the text itself."""

    name: str
    rungs: tuple[Rung, ...]
    seed: int = 0
    text: TextPart = TextPart()
    tokenizer: TokenizerPart = TokenizerPart()
    model: ModelPart = ModelPart()
    training: TrainingPart = TrainingPart()

    @property
    def hash(self) -> str:
        """SHA-256 of the recipe's values, 64 hexadecimal digits; comments and order do not count."""
        return hashlib.sha256(json.dumps(asdict(self), sort_keys=True).encode()).hexdigest()


def read_recipe(path: Path | str) -> Recipe:
    """Read and check a recipe.

    Raises:
        TrainingError: the file is missing, is no TOML, or a key or value is wrong.
    """
    path = Path(path)
    try:
        table = tomllib.loads(path.read_text())
    except FileNotFoundError as error:
        raise TrainingError(f"no such recipe: {path}. One that works is recipes/tiny-ladder.toml.") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise TrainingError(f"{path} is not TOML: {error}.") from error
    parts = {"text": TextPart, "tokenizer": TokenizerPart, "model": ModelPart, "training": TrainingPart}
    values: dict[str, Any] = {
        key: _part(parts[key], value, f"{path} [{key}]") if key in parts else value
        for key, value in table.items()
        if key != "rungs"
    }
    rungs = table.get("rungs", [])
    if not isinstance(rungs, list) or not rungs:
        raise TrainingError(f"{path}: no [[rungs]]. Give at least one, with {_names(Rung)}.")
    values["rungs"] = tuple(_part(Rung, rung, f"{path} [[rungs]] {i}") for i, rung in enumerate(rungs, 1))
    recipe = _part(Recipe, values, str(path))
    _check(recipe, path)
    return recipe


def _names(part: type[Any]) -> str:
    return ", ".join(field.name for field in fields(part))


def _part(part: type[_Part], values: Any, place: str) -> _Part:
    """Build a part from a table, naming what is unknown, missing or of the wrong type."""
    if not isinstance(values, dict):
        raise TrainingError(f"{place} is {values!r}; it must be a table with {_names(part)}.")
    allowed = {field.name: field for field in fields(part)}  # type: ignore[arg-type]
    for key in values:
        if key not in allowed:
            raise TrainingError(f"{place}: unknown key {key!r}; {did_you_mean(key, allowed)}")
    missing = [name for name, field in allowed.items() if name not in values and field.default is MISSING]
    if missing:
        raise TrainingError(f"{place}: {', '.join(missing)} must be given.")
    hints = get_type_hints(part)
    return part(**{key: _typed(value, hints[key], f"{place} {key}") for key, value in values.items()})


def _typed(value: Any, hint: Any, place: str) -> Any:
    if get_origin(hint) is UnionType:
        hint = next(kind for kind in get_args(hint) if kind is not NoneType)
    if get_origin(hint) is tuple:
        if not isinstance(value, list | tuple):
            raise TrainingError(f"{place} is {value!r}; it must be a list.")
        return tuple(_typed(item, get_args(hint)[0], place) for item in value)
    if hint is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if not isinstance(value, hint) or (hint is int and isinstance(value, bool)):
        raise TrainingError(f"{place} is {value!r}; it must be of type {hint.__name__}.")
    return value


def _check(recipe: Recipe, path: Path) -> None:
    """Refuse values out of range before anything is made."""
    text, model, training = recipe.text, recipe.model, recipe.training
    rules = [
        (text.source in ("stdlib", "paths"), "text.source", text.source, '"stdlib" or "paths"'),
        (
            bool(text.paths) == (text.source == "paths"),
            "text.paths",
            list(text.paths),
            "given if source is paths",
        ),
        (0 < text.held_out_share < 1, "text.held_out_share", text.held_out_share, "between 0 and 1"),
        (text.held_out_bytes >= 0, "text.held_out_bytes", text.held_out_bytes, "0 (all) or more"),
        (
            text.held_out_piece_bytes >= 256,
            "text.held_out_piece_bytes",
            text.held_out_piece_bytes,
            "256 or more",
        ),
        (
            recipe.tokenizer.vocabulary >= 512,
            "tokenizer.vocabulary",
            recipe.tokenizer.vocabulary,
            "512 or more",
        ),
        (model.architecture == "llama", "model.architecture", model.architecture, '"llama"'),
        (
            model.residual_init in ("zero", "scaled"),
            "model.residual_init",
            model.residual_init,
            '"zero" or "scaled"',
        ),
        (model.context >= 8, "model.context", model.context, "8 or more"),
        (model.head_width > 0 and model.head_width % 2 == 0, "model.head_width", model.head_width, "even"),
        (training.batch_windows > 0, "training.batch_windows", training.batch_windows, "1 or more"),
        (training.accumulation > 0, "training.accumulation", training.accumulation, "1 or more"),
        (training.learning_rate > 0, "training.learning_rate", training.learning_rate, "above 0"),
        (0 <= training.warmup_share < 1, "training.warmup_share", training.warmup_share, "in [0, 1)"),
        (
            0 <= training.decay_share <= 1 - training.warmup_share,
            "training.decay_share",
            training.decay_share,
            "from 0 to 1 - warmup_share",
        ),
        (training.clip_norm > 0, "training.clip_norm", training.clip_norm, "above 0"),
        (training.checkpoint_steps > 0, "training.checkpoint_steps", training.checkpoint_steps, "1 or more"),
        (
            len({rung.name for rung in recipe.rungs}) == len(recipe.rungs),
            "rungs",
            [rung.name for rung in recipe.rungs],
            "of different names",
        ),
    ]
    for rung in recipe.rungs:
        groups = model.head_width * model.key_value_groups
        rules += [
            (
                rung.hidden > 0 and rung.hidden % groups == 0,
                f"{rung.name}.hidden",
                rung.hidden,
                f"a multiple of head_width x key_value_groups = {groups}",
            ),
            (min(rung.layers, rung.intermediate, rung.tokens) > 0, rung.name, rung, "above 0 everywhere"),
            (
                list(rung.branches) == sorted({*rung.branches} - {rung.tokens})
                and all(0 < count < rung.tokens for count in rung.branches),
                f"{rung.name}.branches",
                list(rung.branches),
                f"rising token counts below the rung's {rung.tokens:,}",
            ),
            ("/" not in rung.name and not rung.name.startswith("."), "name", rung.name, "a folder's name"),
        ]
    for holds, key, given, allowed in rules:
        if not holds:
            raise TrainingError(f"{path}: {key} is {given!r}; it must be {allowed}.")
