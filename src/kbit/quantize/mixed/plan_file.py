"""The plan of a mixed-precision model as a file: written beside the model, and read to make it again."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kbit.errors import FormatError, UsageError
from kbit.formats import WeightFormat, parse_format

FILE = "plan.json"
VERSION = 1


@dataclass(frozen=True, kw_only=True, slots=True)
class MixedPlan:
    """A format for each layer, and why.

    Attributes:
        layers: layer to format.
        target_bits: stored bits a weight of the body that were asked for; None for a plan written by hand.
        stored_bits_body: what the body takes with it.
        body_weights: that those bits stand for.
        damage: layer, then format, to damage; `unit` says of what.
        unit: of the damage.
        expected_damage: the sum over layers.
        gap: how far from the least the sum may be; 0 where it is proved least.
    """

    layers: Mapping[str, WeightFormat]
    target_bits: float | None = None
    stored_bits_body: int | None = None
    body_weights: int | None = None
    damage: Mapping[str, Mapping[str, float]] | None = None
    unit: str | None = None
    expected_damage: float | None = None
    gap: float | None = None

    def to_json(self) -> dict[str, Any]:
        """The content of the file."""
        return {
            "version": VERSION,
            "target_bits": self.target_bits,
            "stored_bits_body": self.stored_bits_body,
            "body_weights": self.body_weights,
            "expected_damage": self.expected_damage,
            "gap": self.gap,
            "unit": self.unit,
            "layers": {name: str(fmt) for name, fmt in self.layers.items()},
            "damage": self.damage,
        }


def write_plan(folder: Path, plan: MixedPlan) -> None:
    """Write `plan.json` into a folder."""
    (folder / FILE).write_text(json.dumps(plan.to_json(), indent=1) + "\n")


def read_plan(file: Path) -> MixedPlan:
    """Read a plan. Only `layers` is needed, so that one can be written by hand.

    Raises:
        UsageError: no such file, or it is no plan.
    """
    file = file / FILE if file.is_dir() else file
    try:
        content = json.loads(file.read_text())
        layers = {str(name): parse_format(text) for name, text in content["layers"].items()}
    except OSError as error:
        raise UsageError(f"the plan {file} cannot be read: {error.strerror}. Check the path.") from error
    except FormatError as error:
        raise UsageError(f"the plan {file}: {error}") from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise UsageError(
            f'{file} is no plan: it must be {{"layers": {{"model.layers.0.mlp.up_proj": "nf4:b64", …}}}}.'
        ) from error
    if content.get("version", VERSION) != VERSION:
        raise UsageError(f"the plan {file} has version {content['version']}; this kbit reads {VERSION}.")
    known = {"target_bits", "stored_bits_body", "body_weights", "damage", "unit", "expected_damage", "gap"}
    return MixedPlan(layers=layers, **{key: content[key] for key in known & content.keys()})
