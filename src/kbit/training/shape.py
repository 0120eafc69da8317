"""The rule of depth and width: a shape for a wanted number of body parameters."""

import math
from dataclasses import replace

from kbit.errors import TrainingError
from kbit.training.architecture import ARCHITECTURES, size_of
from kbit.training.recipe import ModelPart, Rung

# Loss depends weakly on shape between 10 and 200 units of width a layer, with its least near 50 for small
# models (Kaplan et al. 2020, figure 5).
MOST_LAYERS, STRETCH, MISS_WEIGHT = 200, 2.0, 4.0


def shape_for(body_parameters: int, model: ModelPart) -> tuple[int, int, int]:
    """Hidden width, layers and intermediate width nearest to a number of body parameters.

    Widths are what heads allow; the intermediate width is the architecture's multiple of the hidden one,
    rounded to 32. Among depths whose width over depth is within twice or half of `model.aspect`, the shape is
    taken that misses the number and the aspect least (logarithms; a miss in size counts fourfold).

    Args:
        body_parameters: wanted.
        model: architecture, head width and aspect.

    Raises:
        TrainingError: no shape comes within a factor of two.

    >>> shape_for(5_000_000, ModelPart(head_width=64))
    (256, 6, 672)
    """
    ratio, unit = ARCHITECTURES[model.architecture].mlp_ratio, model.head_width * model.key_value_groups
    best: tuple[float, tuple[int, int, int]] | None = None
    for layers in range(1, MOST_LAYERS + 1):
        least = max(1, math.floor(model.aspect * layers / STRETCH / unit))
        most = max(1, math.ceil(model.aspect * layers * STRETCH / unit))
        for units in range(least, most + 1):
            shape = (units * unit, layers, max(32, round(ratio * units * unit / 32) * 32))
            rung = Rung(name="", hidden=shape[0], layers=layers, intermediate=shape[2], tokens=1)
            miss = abs(math.log(size_of(rung, model, 1).body_parameters / body_parameters))
            cost = MISS_WEIGHT * miss + abs(math.log(shape[0] / layers / model.aspect))
            if miss < math.log(2) and (best is None or cost < best[0]):
                best = (cost, shape)
        if best is None and size_of(replace(rung, hidden=least * unit), model, 1).body_parameters > (
            2 * body_parameters
        ):
            break
    if best is None:
        raise TrainingError(
            f"no shape of about {body_parameters:,} body parameters with heads of {model.head_width} and "
            f"{model.aspect:g} units of width a layer; give another head_width or aspect, or hidden, layers "
            "and intermediate outright."
        )
    return best[1]
