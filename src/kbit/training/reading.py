"""Read and check a recipe's TOML file."""

import tomllib
from collections.abc import Mapping
from dataclasses import MISSING, asdict, fields
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, TypeVar, get_args, get_origin, get_type_hints

from kbit.errors import TrainingError, did_you_mean
from kbit.training.architecture import ARCHITECTURES, size_of
from kbit.training.recipe import ModelPart, Recipe, Rung, TextPart, TokenizerPart, TrainingPart
from kbit.training.shape import shape_for

_Part = TypeVar("_Part")
_SHAPE = ("hidden", "layers", "intermediate")


def read_recipe(path: Path | str) -> Recipe:
    """Read and check a recipe.

    Raises:
        TrainingError: the file is missing, is no TOML, or a key or value is wrong.
    """
    path = Path(path)
    parts = {"text": TextPart, "tokenizer": TokenizerPart, "model": ModelPart, "training": TrainingPart}
    recipe = read_parts(path, Recipe, parts, rungs="rungs", example="recipes/tiny-ladder.toml")
    _check(recipe, path)
    return recipe


def read_parts(
    path: Path,
    whole: type[_Part],
    parts: Mapping[str, type[Any]],
    *,
    rungs: str,
    example: str,
    default_model: ModelPart | None = None,
    rung_defaults: Mapping[str, Any] | None = None,
) -> _Part:
    """Build a dataclass of parts from a TOML file; what is unknown, missing or of a wrong type is named.

    Args:
        path: the file.
        whole: the class to build.
        parts: tables by key, each with its class.
        rungs: the key of the array of models.
        example: a file that works, named where this one is missing.
        default_model: the model part where the file has none, or has it in part.
        rung_defaults: what a model's table need not say.

    Raises:
        TrainingError: see above.
    """
    try:
        table = tomllib.loads(path.read_text())
    except FileNotFoundError as error:
        raise TrainingError(f"no such recipe: {path}. One that works is {example}.") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise TrainingError(f"{path} is not TOML: {error}.") from error
    model = default_model or ModelPart()
    if "model" in table and isinstance(table["model"], dict):
        table["model"] = asdict(model) | table["model"]
    values: dict[str, Any] = {
        key: build_part(parts[key], value, f"{path} [{key}]") if key in parts else value
        for key, value in table.items()
        if key != rungs
    }
    models = table.get(rungs, [])
    if not isinstance(models, list) or not models:
        raise TrainingError(f"{path}: no [[{rungs}]]. Give at least one, with {_names(Rung)}.")
    model = values.get("model", model)
    if model.architecture not in ARCHITECTURES:
        near = did_you_mean(model.architecture, ARCHITECTURES)
        raise TrainingError(f"{path}: model.architecture is {model.architecture!r}; {near}")
    built = []
    for i, row in enumerate(models, 1):
        place = f"{path} [[{rungs}]] {i}"
        resolved = _resolved(row, model, place)
        if isinstance(resolved, dict):
            resolved = {**(rung_defaults or {}), **resolved}
        built.append(build_part(Rung, resolved, place))
    values[rungs] = tuple(built)
    return build_part(whole, values, str(path))


def _resolved(rung: Any, model: ModelPart, place: str) -> Any:
    """A rung's table with `body_parameters` and `tokens_per_parameter` turned into a shape and tokens."""
    if not isinstance(rung, dict):
        return rung
    table = dict(rung)
    if "body_parameters" in table:
        given = [key for key in _SHAPE if key in table]
        if given:
            raise TrainingError(f"{place}: give body_parameters or {', '.join(_SHAPE)}, not both.")
        wanted = _typed(table.pop("body_parameters"), int, f"{place} body_parameters")
        if wanted < 1:
            raise TrainingError(f"{place} body_parameters is {wanted}; it must be 1 or more.")
        if model.head_width < 1 or model.key_value_groups < 1 or model.aspect <= 0:
            raise TrainingError(
                f"{place}: model.head_width, key_value_groups and aspect must be above 0, given "
                f"{model.head_width}, {model.key_value_groups} and {model.aspect}."
            )
        table |= dict(zip(_SHAPE, shape_for(wanted, model), strict=True))
    if "tokens_per_parameter" in table:
        if "tokens" in table:
            raise TrainingError(f"{place}: give tokens or tokens_per_parameter, not both.")
        ratio = _typed(table.pop("tokens_per_parameter"), float, f"{place} tokens_per_parameter")
        shape = [_typed(table.get(key, 0), int, f"{place} {key}") for key in _SHAPE]
        if min(shape) < 1:
            raise TrainingError(f"{place}: {', '.join(_SHAPE)} must be given, above 0.")
        sized = Rung(name="", hidden=shape[0], layers=shape[1], intermediate=shape[2], tokens=1)
        table["tokens"] = round(ratio * size_of(sized, model, 1).body_parameters)
    return table


def _names(part: type[Any]) -> str:
    return ", ".join(field.name for field in fields(part))


def build_part(part: type[_Part], values: Any, place: str) -> _Part:
    """Build a part from a table, naming what is unknown, missing or of the wrong type."""
    if not isinstance(values, dict):
        raise TrainingError(f"{place} is {values!r}; it must be a table with {_names(part)}.")
    allowed = {field.name: field for field in fields(part)}  # type: ignore[arg-type]
    for key in values:
        if key not in allowed:
            raise TrainingError(f"{place}: unknown key {key!r}; {did_you_mean(key, allowed)}")
    missing = [
        name
        for name, field in allowed.items()
        if name not in values and field.default is MISSING and field.default_factory is MISSING
    ]
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
        (
            model.architecture == "llama" or model.key_value_groups == 1,
            "model.key_value_groups",
            model.key_value_groups,
            f"1 for {model.architecture}",
        ),
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
