"""A mixed-precision plan for a model: damage of each layer at each format, allocated within a budget."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from kbit.errors import UsageError
from kbit.formats import WeightFormat, parse_format
from kbit.models.locate import locate
from kbit.models.record import LayerRecord, Method
from kbit.models.safetensors_read import read_folder_tensors
from kbit.models.skeleton import Skeleton, build_skeleton
from kbit.models.stored_parts import part_specs
from kbit.quantize.calibration.text import Calibration
from kbit.quantize.method import method_named
from kbit.quantize.mixed.allocate import allocate
from kbit.quantize.mixed.damage import Damage, Progress, measured_damage, predicted_damage
from kbit.quantize.mixed.plan_file import MixedPlan
from kbit.quantize.plan import Choice, PlannedTensor, make_plan

LEAST_TARGET, GREATEST_TARGET = 2.0, 8.5
DEFAULT_FORMATS = (
    "tcq2:b64:q8",
    "tcq3:b64:q8",
    "tcq4:b64:q8",
    "tcq5:b64:q8",
    "tcq6:b64:q8",
    "tcq7:b64:q8",
    "int8:b32:q8",
    "int8:b16:q8",
)
"""What a layer may get unless formats are named: near the least error at their bits, told by benchmarks.

At 8 bits small blocks of plain integers leave less error than a trellis with large ones: .000022 against
.000032 on a Gaussian, for an eighth of a bit more."""


def plan_mixed(
    source: str | Path,
    *,
    target_bits: float,
    formats: Sequence[str | WeightFormat] = DEFAULT_FORMATS,
    method: str = "nearest",
    calibration: Calibration | None = None,
    keep: Sequence[str] = (),
    damage: Damage | None = None,
    progress: Progress | None = None,
) -> MixedPlan:
    """Choose a format for each linear layer: least expected damage, body within the target exactly.

    Args:
        source: the 16-bit model: a folder or a hub id.
        target_bits: stored bits a weight of the body, all that is in it counted: codes, scales, norms.
        formats: what a layer may get.
        method: how codes will be chosen.
        calibration: the text; with it damage is measured, without it is predicted from the weights.
        keep: layers to leave in 16 bits, by name or pattern.
        damage: of these formats, where it is known already: a plan for another target costs nothing more.
        progress: called with layers done, layers in all, and the name of the next.

    Raises:
        UsageError: a target that no allocation reaches, or formats that are not packed.
        ModelError: no such model.
    """
    given = [f if isinstance(f, WeightFormat) else parse_format(f) for f in formats]
    _check(target_bits, given)
    folder = locate(source)
    skeleton = build_skeleton(folder)
    choice = Choice(
        # What this one cannot hold stays in 16 bits; the others then hold the rest.
        format=min(given, key=lambda fmt: fmt.bits),
        embeddings=None,
        head=None,
        method=Method(name=method, version=method_named(method).version),
        keep=tuple(keep),
    )
    plan = make_plan(folder, skeleton, read_folder_tensors(folder), choice)
    packed = list(plan.records)
    if damage is not None:
        pass
    elif calibration is None:
        damage = predicted_damage(folder, plan.tensors, given)
    else:
        recipe = method_named(method).recipe
        if recipe is None:
            raise UsageError(f"the method {method} reads no text, and calibration text is given.")
        damage = measured_damage(folder, packed, calibration, given, recipe, progress=progress)
    body_weights = skeleton.body_parameters
    fixed = sum(_bits(t) for t in plan.tensors if t.record is None and _in_body(skeleton, t))
    names = list(damage.by_layer)
    others = [r for r in packed if r.name not in damage.by_layer]
    largest = max(given, key=lambda fmt: fmt.bits)
    # What calibration does not reach gets the safest format.
    fixed += sum(_record_bits(record, largest) for record in others)
    by_name = {record.name: record for record in packed}
    costs = [[_record_bits(by_name[name], fmt) for fmt in given] for name in names]
    harms = [[damage.by_layer[name][str(fmt)] for fmt in given] for name in names]
    budget = int(target_bits * body_weights) - fixed
    try:
        found = allocate(costs, harms, budget)
    except UsageError as error:
        least = (sum(min(row) for row in costs) + fixed) / body_weights
        raise UsageError(
            f"a target of {target_bits:g} bits a weight is below {least:.4g}, what the smallest formats "
            "take with scales and all that stays in 16 bits. Raise the target, or allow smaller formats "
            "(--formats)."
        ) from error
    layers = {name: given[j] for name, j in zip(names, found.choices, strict=True)}
    layers |= {record.name: largest for record in others}
    return MixedPlan(
        layers=layers,
        target_bits=target_bits,
        stored_bits_body=found.bits + fixed,
        body_weights=body_weights,
        damage=damage.by_layer,
        unit=damage.unit,
        expected_damage=found.damage,
        gap=found.gap,
    )


def _check(target_bits: float, formats: Sequence[WeightFormat]) -> None:
    if not LEAST_TARGET <= target_bits <= GREATEST_TARGET:
        raise UsageError(
            f"a target of {target_bits:g} bits a weight: give {LEAST_TARGET:g} to {GREATEST_TARGET:g}."
        )
    if len({str(fmt) for fmt in formats}) < 2:
        raise UsageError("a mix needs at least two formats: name more with --formats.")
    for fmt in formats:
        if not fmt.is_packed:
            raise UsageError(
                f"{fmt} is not packed: a mix is of packed formats. Keep layers in 16 bits with --keep."
            )


def _record_bits(record: LayerRecord, fmt: WeightFormat) -> int:
    return sum(8 * spec.size_bytes for spec in part_specs(replace(record, format=fmt)).values())


def _bits(tensor: PlannedTensor) -> int:
    return sum(8 * spec.size_bytes for spec in tensor.specs)


def _in_body(skeleton: Skeleton, tensor: PlannedTensor) -> bool:
    return skeleton.group_of_tensor(tensor.specs[0].name) == "body"
