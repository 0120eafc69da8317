"""Layer records as the `quantization_config` of a `config.json`, and back.

    {"quant_method": "kbit", "layout": 1, "kbit_version": "0.1.0",
     "defaults": {"format": "nf4", "method": {"name": "nearest", "version": 1}},
     "layers": {"model.layers.{0-31}.mlp.up_proj": {"shape": [11008, 4096]},
                "lm_head": {"shape": [32000, 4096], "role": "head", "format": "int8"}}}

A field that has its default is left out; layers that differ only in their number share an entry. A
field this version does not know is an error: it would change what the codes mean.
"""

import json
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import MISSING, fields
from typing import Any, TypeVar, get_args

from kbit.errors import FormatError, ModelError, did_you_mean
from kbit.formats import parse_format
from kbit.models.layer_names import expand_name, join_names, split_name
from kbit.models.record import KeptType, LayerRecord, Method, Role, Rotation

_T = TypeVar("_T", Method, Rotation)

LAYOUT = 1
QUANT_METHOD = "kbit"
_KEYS = ("quant_method", "layout", "kbit_version", "defaults", "layers")
_FIELDS = tuple(f.name for f in fields(LayerRecord) if f.name != "name")
_DEFAULTS: dict[str, Any] = {f.name: f.default for f in fields(LayerRecord) if f.default is not MISSING}


def records_to_config(records: Iterable[LayerRecord], *, kbit_version: str) -> dict[str, Any]:
    """The `quantization_config` of a folder that stores these records.

    Args:
        records: at least one.
        kbit_version: of the writer, for people; readers go by `layout`.
    """
    entries = {record.name: _to_entry(record) for record in records}
    defaults: dict[str, Any] = {"role": "linear"}
    for key in ("format", "method"):
        counts = Counter(json.dumps(e[key], sort_keys=True) for e in entries.values())
        defaults[key] = json.loads(counts.most_common(1)[0][0])
    groups: dict[tuple[str, str], list[int | None]] = {}
    for name, entry in entries.items():
        short = {k: v for k, v in entry.items() if k not in defaults or defaults[k] != v}
        template, index = split_name(name)
        groups.setdefault((template, json.dumps(short, sort_keys=True)), []).append(index)
    layers: dict[str, Any] = {}
    for (template, text), indices in groups.items():
        numbers = [i for i in indices if i is not None]
        layers[join_names(template, numbers) if numbers else template] = json.loads(text)
    return {
        "quant_method": QUANT_METHOD,
        "layout": LAYOUT,
        "kbit_version": kbit_version,
        "defaults": defaults,
        "layers": layers,
    }


def records_from_config(config: Mapping[str, Any]) -> tuple[LayerRecord, ...]:
    """The records that a `quantization_config` stands for.

    Raises:
        ModelError: it is not kbit's, was written by a newer kbit, or has fields that are unknown or wrong.
    """
    if config.get("quant_method") != QUANT_METHOD:
        raise ModelError(
            f"quantization_config: quant_method is {config.get('quant_method')!r}, and kbit reads only "
            f"{QUANT_METHOD!r}. Load the model with the tool that wrote it."
        )
    if config.get("layout") != LAYOUT:
        raise ModelError(
            f"quantization_config: layout {config.get('layout')!r}, written by kbit "
            f"{config.get('kbit_version', 'of an unknown version')}; this kbit reads layout {LAYOUT}. "
            "Upgrade kbit, or quantise the model again."
        )
    _check_keys("quantization_config", config, _KEYS)
    defaults, layers = config.get("defaults", {}), config.get("layers")
    if not isinstance(defaults, Mapping) or not isinstance(layers, Mapping):
        raise ModelError(
            "quantization_config: 'defaults' and 'layers' must be objects. Quantise the model again."
        )
    _check_keys("quantization_config.defaults", defaults, _FIELDS)
    records: dict[str, LayerRecord] = {}
    for pattern, entry in layers.items():
        where = f"quantization_config.layers[{pattern!r}]"
        if not isinstance(entry, Mapping):
            raise ModelError(f"{where}: must be an object. Quantise the model again.")
        _check_keys(where, entry, _FIELDS)
        for name in expand_name(pattern):
            if name in records:
                raise ModelError(f"{where}: {name!r} is named twice. Quantise the model again.")
            records[name] = _from_entry(where, name, {**defaults, **entry})
    _check_tables(records)
    return tuple(records.values())


def _to_entry(record: LayerRecord) -> dict[str, Any]:
    entry: dict[str, Any] = {}
    for key in _FIELDS:
        value = getattr(record, key)
        if key in _DEFAULTS and _DEFAULTS[key] == value:
            continue
        if key == "format":
            value = str(value)
        elif key == "method":
            value = _method_to_json(value)
        elif key == "rotation":
            value = {"kind": value.kind}
        elif key == "shape":
            value = list(value)
        entry[key] = value
    return entry


def _method_to_json(method: Method) -> dict[str, Any]:
    value: dict[str, Any] = {"name": method.name, "version": method.version}
    if method.seed is not None:
        value["seed"] = method.seed
    if method.calibration is not None:
        value["calibration"] = method.calibration
    if method.options:
        value["options"] = dict(method.options)
    return value


def _from_entry(where: str, name: str, entry: Mapping[str, Any]) -> LayerRecord:
    try:
        rows, columns = entry["shape"]
        record = LayerRecord(
            name=name,
            shape=(_count(rows), _count(columns)),
            role=_one_of(entry["role"], get_args(Role)),
            format=parse_format(entry["format"]),
            method=_record(Method, entry["method"]),
            transposed=_flag(entry.get("transposed", False)),
            rotation=_record(Rotation, entry["rotation"]) if entry.get("rotation") is not None else None,
            kept_inputs=_count(entry.get("kept_inputs", 0), least=0),
            kept_type=_one_of(entry.get("kept_type", "bf16"), get_args(KeptType)),
            activation_order=_flag(entry.get("activation_order", False)),
            table_of=entry.get("table_of"),
        )
    except KeyError as error:
        raise ModelError(f"{where}: has no {error}. Quantise the model again.") from error
    except (TypeError, ValueError, FormatError) as error:
        raise ModelError(f"{where}: {error}. Upgrade kbit, or quantise the model again.") from error
    _check_computable(where, record)
    return record


def _check_computable(where: str, record: LayerRecord) -> None:
    if not record.format.is_packed:
        raise ModelError(f"{where}: {record.format} is not packed. Quantise the model again.")
    if record.rotation is not None and record.rotation.kind != "hadamard":
        raise ModelError(
            f"{where}: rotates its inputs by {record.rotation.kind!r}, and this kbit knows 'hadamard'. "
            "Upgrade kbit, or quantise the model again."
        )
    if record.kept_inputs >= record.shape[1]:
        raise ModelError(
            f"{where}: keeps {record.kept_inputs} of {record.shape[1]} inputs, which leaves none to code. "
            "Quantise the model again."
        )
    if record.role == "embedding" and record.transforms_inputs:
        raise ModelError(
            f"{where}: an embedding looks rows up, so it has no inputs to rotate, reorder or keep. "
            "Quantise the model again."
        )


def _check_tables(records: Mapping[str, LayerRecord]) -> None:
    for record in records.values():
        if record.table_of is None:
            continue
        owner = records.get(record.table_of)
        if not record.format.datatype.stored_table:
            raise ModelError(
                f"{record.name}: {record.format} has no stored table to share. Quantise the model again."
            )
        if owner is None or owner.table_of is not None or owner.format.datatype != record.format.datatype:
            raise ModelError(
                f"{record.name}: uses the table of {record.table_of!r}, which stores none of its type. "
                "Quantise the model again."
            )


def _check_keys(where: str, given: Mapping[str, Any], allowed: tuple[str, ...]) -> None:
    for key in given:
        if key not in allowed:
            raise ModelError(
                f"{where}: unknown field {key!r}, {did_you_mean(str(key), allowed)} It may have been written "
                "by a newer kbit: upgrade, or quantise the model again."
            )


def _record(kind: type[_T], value: Any) -> _T:
    if not isinstance(value, Mapping):
        raise TypeError(f"{kind.__name__.lower()} must be an object, not {value!r}")
    unknown = sorted(value.keys() - {f.name for f in fields(kind)})
    if unknown:
        raise ValueError(f"{kind.__name__.lower()} has the unknown field {unknown[0]!r}")
    return kind(**value)


def _count(value: Any, *, least: int = 1) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or value < least:
        raise ValueError(f"{value!r} is not a whole number of at least {least}")
    return value


def _flag(value: Any) -> bool:
    if not isinstance(value, bool):
        raise TypeError(f"{value!r} is neither true nor false")
    return value


def _one_of(value: Any, allowed: tuple[Any, ...]) -> Any:
    if value not in allowed:
        raise ValueError(f"{value!r} is not one of {', '.join(map(repr, allowed))}")
    return value
