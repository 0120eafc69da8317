"""From the names in a checkpoint to the parameters of the architecture, by Transformers' own rules.

Old checkpoints use other names (`transformer.` missing before GPT-2's `h.0`, `embed_out` for
GPT-NeoX's head), and some parameters are merged from several tensors when they are loaded (the experts
of a mixture).
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import torch

_NUMBER = re.compile(r"\.experts\.(\d+)\.")


@dataclass(frozen=True, kw_only=True, slots=True)
class CheckpointNames:
    """What the tensors of a checkpoint are to an architecture.

    Attributes:
        parameters: checkpoint name to the parameter (or persistent buffer) it is, one to one.
        merged: checkpoint name to the parameters it becomes a part of when loaded.
        experts: of those, the ones that are a projection of one expert: `<experts>.<number>.<projection>`.
        ignored: tensors the architecture leaves aside, such as the causal masks of old GPT-2 files.
        unknown: tensors the architecture has no place for.
        missing: parameters the checkpoint does not give.
    """

    parameters: Mapping[str, str]
    merged: Mapping[str, tuple[str, ...]]
    experts: Mapping[str, str]
    ignored: tuple[str, ...]
    unknown: tuple[str, ...]
    missing: tuple[str, ...]


def match_names(model: Any, names: Iterable[str]) -> CheckpointNames:
    """Match the tensor names of a checkpoint with a model that lies on the meta device.

    Args:
        model: a `transformers.PreTrainedModel`.
        names: the names in the checkpoint's files.
    """
    from transformers.conversion_mapping import get_model_conversion_mapping
    from transformers.core_model_loading import WeightConverter, WeightRenaming, rename_source_key

    wanted: dict[str, torch.Tensor] = model.state_dict()
    mapping = get_model_conversion_mapping(model)
    renamings = [entry for entry in mapping if isinstance(entry, WeightRenaming)]
    converters = [entry for entry in mapping if isinstance(entry, WeightConverter)]
    by_pattern = {pattern: entry for entry in converters for pattern in entry.source_patterns}
    prefix = model.base_model_prefix

    parameters: dict[str, str] = {}
    merged: dict[str, tuple[str, ...]] = {}
    experts: dict[str, str] = {}
    unexpected: list[str] = []
    for name in names:
        target, pattern = rename_source_key(name, renamings, converters, prefix, wanted)
        if target not in wanted and name in wanted:
            # Saved under the architecture's own names: the rules for old names do not apply.
            target, pattern = rename_source_key(name, [], [], prefix, wanted)
        if pattern is not None:
            patterns = by_pattern[pattern].target_patterns
            targets = tuple(target.replace(patterns[0], other) for other in patterns)
            if all(t in wanted for t in targets):
                merged[name] = targets
                expert = _expert(name, targets, by_pattern[pattern], pattern)
                if expert is not None:
                    experts[name] = expert
                continue
        if target in wanted and pattern is None:
            parameters[name] = target
        else:
            unexpected.append(name)
    given = {*parameters.values(), *(t for targets in merged.values() for t in targets)}
    missing = _without_tied(model, wanted.keys() - given, given)
    missing, unknown = _after_rules(model, missing, set(unexpected))
    return CheckpointNames(
        parameters=parameters,
        merged=merged,
        experts=experts,
        ignored=tuple(n for n in unexpected if n not in unknown),
        unknown=tuple(sorted(unknown)),
        missing=tuple(sorted(missing)),
    )


def _expert(name: str, targets: tuple[str, ...], converter: Any, pattern: str) -> str | None:
    """`<experts>.<number>.<projection>` where the rule only stacks experts, gate above up; else None."""
    steps = [(type(step).__name__, getattr(step, "dim", None)) for step in converter.operations]
    patterns, number = list(converter.source_patterns), _NUMBER.search(name)
    module, _, parameter = targets[0].rpartition(".")
    if len(targets) != 1 or number is None:
        return None
    if parameter == "gate_up_proj" and steps == [("MergeModulelist", 0), ("Concatenate", 1)]:
        projection = ("gate_proj", "up_proj")[patterns.index(pattern)] if len(patterns) == 2 else None
    elif parameter == "down_proj" and steps == [("MergeModulelist", 0)]:
        projection = "down_proj" if len(patterns) == 1 else None
    else:
        projection = None
    return None if projection is None else f"{module}.{number[1]}.{projection}"


def _without_tied(model: Any, missing: set[str], given: set[str]) -> set[str]:
    # Of parameters tied together one is enough, whichever it is.
    for target, source in model.all_tied_weights_keys.items():
        if target in given or source in given:
            missing = missing - {target, source}
    return missing


def _after_rules(model: Any, missing: set[str], unexpected: set[str]) -> tuple[set[str], set[str]]:
    from transformers.utils.loading_report import LoadStateDictInfo

    info = LoadStateDictInfo(
        missing_keys=missing,
        unexpected_keys=unexpected,
        mismatched_keys=set(),
        conversion_errors={},
        error_msgs=[],
        skipped_pp_keys=set(),
    )
    model._adjust_missing_and_unexpected_keys(info)
    return set(info.missing_keys), set(info.unexpected_keys)
