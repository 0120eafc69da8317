"""What kbit enters into `quality_per_bit.py`: single formats, and mixes of them at many rates.

Data-free mixes choose among layers coded once for each format, which is what `kbit quantize --target-bits`
writes; calibrated ones are written by it as a folder and read back. Plain GPTQ (uniform integers with a zero
point, nothing searched) is entered as a peer.
"""

import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from quality_eval import Yardstick
from quality_peers import Given, Made

from kbit.formats import WeightFormat, decode, parse_format
from kbit.models.linear import KbitLinear
from kbit.models.load import load
from kbit.models.record import LayerRecord, Method, Rotation
from kbit.models.stored_parts import part_specs
from kbit.quantize import METHODS, Calibration, quantize_model
from kbit.quantize.mixed.damage import Damage
from kbit.quantize.mixed.plan import DEFAULT_FORMATS, plan_mixed
from kbit.quantize.rotation import record_transform

FREE_METHOD, ROTATED_METHOD, CALIBRATED_METHOD = "scale-search", "rotate-search", "descent"
# Just below the rates of llama.cpp's types, and between.
FREE_TARGETS = (
    2.2,
    2.63,
    2.94,
    3.0,
    3.44,
    3.8,
    3.87,
    4.06,
    4.13,
    4.25,
    4.5,
    4.71,
    4.75,
    5.5,
    6.56,
    8.05,
    8.5,
)
CALIBRATED_TARGETS = (2.2, 2.32, 2.57, 3.07, 3.44, 4.13, 4.25, 4.5, 4.75, 5.5, 6.56, 8.5)
SCALARS = ("nf3:b64:q8", "nf4:b64:q8", "lloyd3:b64:q8", "lloyd4:b64:q8")
PLAIN_GPTQ = ("uint2:b64", "uint3:b64", "uint3:b128", "uint4:b64", "uint4:b128", "uint8:b128")


@dataclass(frozen=True, kw_only=True, slots=True)
class Mine:
    """A contestant."""

    peer: str
    name: str
    data: str
    make: Callable[[], Made]


def contestants(given: Given, yard: Yardstick, calibration: Calibration) -> Iterator[Mine]:
    """kbit's, and plain GPTQ."""
    free = _FreeCodes(given, FREE_METHOD)
    for text in SCALARS:
        yield Mine(peer="kbit", name=text, data="free", make=lambda t=text: free.single(t))
    for target in FREE_TARGETS:
        yield Mine(peer="kbit", name=f"mix {target}", data="free", make=lambda t=target: free.mix(t))

    rotated = _FreeCodes(given, ROTATED_METHOD)
    for target in FREE_TARGETS:
        yield Mine(peer="kbit", name=f"mix {target} rotated", data="free", make=partial(rotated.mix, target))

    def calibrated(peer: str, name: str, make: Callable[[], Made]) -> Mine:
        return Mine(peer=peer, name=name, data="calibrated", make=make)

    mixed = _CalibratedMixes(given, calibration)
    for target in CALIBRATED_TARGETS:
        yield calibrated("kbit", f"mix {target}", partial(mixed.mix, target))
    for text in ("int8:b64:q8", "tcq2:b64:q8", "tcq3:b64:q8", "tcq4:b64:q8", "lloyd3:b64:q8"):
        yield calibrated("kbit", text, partial(_folder, given, calibration, text, CALIBRATED_METHOD))
    for text in PLAIN_GPTQ:
        yield calibrated("plain GPTQ", text, partial(_gptq, given, calibration, text))


class _FreeCodes:
    """Layers coded once for each format, and mixes of them."""

    def __init__(self, given: Given, method: str) -> None:
        self.given, self.method = given, METHODS[method]
        self.coded: dict[tuple[str, str], tuple[torch.Tensor, int]] = {}

    def layer(self, name: str, fmt: WeightFormat) -> tuple[torch.Tensor, int]:
        key = (name, str(fmt))
        if key not in self.coded:
            weight = self.given.weights[name]
            rotation = Rotation() if self.method.rotates else None
            record = LayerRecord(
                name=name, shape=tuple(weight.shape), role="linear", format=fmt, rotation=rotation,
                method=Method(name=self.method.name, version=self.method.version),
            )  # fmt: skip
            inputs = record_transform(record)
            packed = self.method.encode(inputs.apply(weight), fmt, None)
            bits = sum(8 * spec.size_bytes for spec in part_specs(record).values())
            self.coded[key] = inputs.dense_weight(decode(packed)), bits
        return self.coded[key]

    def single(self, text: str) -> Made:
        return self._made({name: parse_format(text) for name in self.given.weights})

    def mix(self, target: float) -> Made:
        return self._made(plan_mixed(self.given.folder, target_bits=target, method=self.method.name).layers)

    def _made(self, layers: Any) -> Made:
        found = {name: self.layer(name, fmt) for name, fmt in layers.items()}
        return Made(weights={n: w for n, (w, _) in found.items()}, bits=sum(b for _, b in found.values()))


def dense(folder: Path) -> Made:
    """The weights a k-bit folder stands for, and the bits of its coded layers."""
    model = load(folder)
    made, bits = {}, 0
    for name, module in model.named_modules():
        if isinstance(module, KbitLinear):
            values = decode(module.packed)
            made[name] = values if module.inputs is None else module.inputs.dense_weight(values)
            bits += 8 * sum(p.numel() * p.element_size() for n, p in module.named_parameters() if n != "bias")
    return Made(weights=made, bits=bits)


class _CalibratedMixes:
    """Mixes whose damage is measured once for all targets."""

    def __init__(self, given: Given, calibration: Calibration) -> None:
        self.given, self.calibration = given, calibration
        self.damage: Damage | None = None

    def mix(self, target: float) -> Made:
        plan = plan_mixed(
            self.given.folder,
            target_bits=target,
            method=CALIBRATED_METHOD,
            calibration=self.calibration,
            damage=self.damage,
        )
        if plan.damage is not None and plan.unit is not None:
            self.damage = Damage(by_layer=plan.damage, unit=plan.unit)
        return _folder(self.given, self.calibration, DEFAULT_FORMATS[0], CALIBRATED_METHOD, layers=plan)


def _folder(given: Given, calibration: Calibration, text: str, method: str, layers: Any = None) -> Made:
    with tempfile.TemporaryDirectory() as place:
        out = Path(place) / "model"
        quantize_model(given.folder, out, format=text, method=method, calibration=calibration, layers=layers)
        return dense(out)


def _gptq(given: Given, calibration: Calibration, text: str) -> Made:
    made = _folder(given, calibration, text, "gptq")
    fmt = parse_format(text)
    # As GPTQ's own files store it: a zero point is k bits, not a second 16-bit scale.
    blocks = sum(w.numel() // int(fmt.block) for w in given.weights.values())
    return replace(made, bits=made.bits - blocks * (16 - fmt.bits))
