"""Settings of a fine-tuning from a TOML file, and from what was said beside it."""

import tomllib
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from kbit.errors import TrainingError
from kbit.training.finetune.settings import Tuning, check_tuning
from kbit.training.reading import build_part

EXAMPLE = "recipes/finetune/hotel.toml"


def read_tuning(path: Path | None, said: Mapping[str, Any]) -> Tuning:
    """Settings of a file, and over them those that were said; all others have their defaults.

    Args:
        path: a TOML file of settings by their names; None for no file.
        said: settings by name; None stands for one that was not.

    Raises:
        TrainingError: the file is missing or no TOML; a setting is unknown, of a wrong type or out of range.
    """
    table: dict[str, Any] = {}
    if path is not None:
        try:
            table = tomllib.loads(path.read_text())
        except FileNotFoundError as error:
            raise TrainingError(f"no such recipe: {path}. One that works is {EXAMPLE}.") from error
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            raise TrainingError(f"{path} is no TOML: {error}. One that works is {EXAMPLE}.") from error
    place = str(path) if path is not None else "fine-tuning"
    read = asdict(build_part(Tuning, table, place))
    given = {key: value for key, value in said.items() if value is not None}
    return check_tuning(Tuning(**(read | given)), place)
