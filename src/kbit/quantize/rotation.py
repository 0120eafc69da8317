"""The rotation of a layer's inputs, as its record says: its signs follow from the layer's name."""

import hashlib

from torch import Tensor

from kbit.formats.rotation import random_signs, unpack_signs
from kbit.models.inputs import InputTransform
from kbit.models.record import LayerRecord

SEED = 0


def layer_seed(name: str) -> int:
    """The seed of a layer's signs: of its name, so that layers differ and runs do not."""
    return int.from_bytes(hashlib.sha256(f"kbit signs {SEED} {name}".encode()).digest()[:8], "little")


def record_signs(record: LayerRecord) -> Tensor | None:
    """The packed signs of a layer's rotation; None without one."""
    if record.rotation is None:
        return None
    return random_signs(record.packed_shape[1], layer_seed(record.name))


def record_transform(record: LayerRecord) -> InputTransform:
    """What a layer does to its inputs, as far as it follows from the record alone: its rotation."""
    signs = record_signs(record)
    columns = record.packed_shape[1]
    return InputTransform(columns=columns, signs=None if signs is None else unpack_signs(signs, columns))
