"""Names of many layers in one: `model.layers.{0-31}.mlp.up_proj`, so that a config stays readable."""

import re
from collections.abc import Iterable

from kbit.errors import ModelError

_RANGES = re.compile(r"\{([0-9,-]+)\}")
# No model has as many layers: a longer range is a damaged or hostile file, not to be expanded.
MAX_LAYERS = 1_000_000


def split_name(name: str) -> tuple[str, int | None]:
    """A name with its first number taken out, and that number.

    >>> split_name("model.layers.12.mlp.up_proj")
    ('model.layers.{}.mlp.up_proj', 12)
    >>> split_name("lm_head")
    ('lm_head', None)
    """
    parts = name.split(".")
    for position, part in enumerate(parts):
        # Only a number that is written back the same: not "007".
        if part.isascii() and part.isdigit() and str(int(part)) == part:
            parts[position] = "{}"
            return ".".join(parts), int(part)
    return name, None


def join_names(template: str, indices: Iterable[int]) -> str:
    """One name for those that `split_name` gave `template` and these numbers.

    >>> join_names("layers.{}.up", [0, 1, 2, 5])
    'layers.{0-2,5}.up'
    """
    runs: list[list[int]] = []
    for index in sorted(indices):
        if runs and index == runs[-1][1] + 1:
            runs[-1][1] = index
        else:
            runs.append([index, index])
    text = ",".join(str(a) if a == b else f"{a}-{b}" for a, b in runs)
    return template.replace("{}", "{" + text + "}", 1)


def expand_name(name: str) -> list[str]:
    """The names that one name with a range stands for.

    >>> expand_name("layers.{0-2,5}.up")
    ['layers.0.up', 'layers.1.up', 'layers.2.up', 'layers.5.up']

    Raises:
        ModelError: the range cannot be read.
    """
    match = _RANGES.search(name)
    if match is None:
        return [name]
    names: list[str] = []
    for run in match.group(1).split(","):
        first, _, last = run.partition("-")
        if not first.isdigit() or (last and not last.isdigit()):
            raise ModelError(f"quantization_config: {name!r}: {run!r} is no range of layers, such as 0-31.")
        start, stop = int(first), int(last or first) + 1
        if stop - start > MAX_LAYERS:
            raise ModelError(f"quantization_config: {name!r} stands for more than {MAX_LAYERS} layers.")
        names += [name[: match.start()] + str(i) + name[match.end() :] for i in range(start, stop)]
    return names
