"""What every k-bit module has in common: stored parts as parameters that move but are never cast."""

from collections.abc import Callable
from typing import Any, Self

import torch
from torch import Tensor, nn

from kbit.formats import PackedTensor, decode
from kbit.models.record import LayerRecord
from kbit.models.stored_parts import PARTS, part_specs

# A scale is held as the bits it has on disk, in an integer type of its width. Were it floating point, a
# cast of the model would widen it, an optimiser could move it, and `model.dtype`, which Transformers
# takes from the first floating parameter, would name the scales' type instead of the model's.
_BITS_OF = {2: torch.int16, 4: torch.int32}


def as_bits(tensor: Tensor) -> Tensor:
    """The same memory seen as integers, if it holds floating point."""
    return tensor.view(_BITS_OF[tensor.dtype.itemsize]) if tensor.is_floating_point() else tensor


class StoredWeight(nn.Module):
    """Mixin of modules that hold one packed weight. Their class calls `hold(record)` once.

    Parts are `Parameter(requires_grad=False)` rather than buffers: buffers are left out of
    `num_parameters`, `get_memory_footprint` and device maps.
    """

    record: LayerRecord

    def hold(self, record: LayerRecord, *, device: Any = None) -> None:
        """Make room for the parts of `record`, unfilled."""
        self.record = record
        specs = part_specs(record)
        for part in PARTS:
            if part in specs:
                empty = torch.empty(specs[part].shape, dtype=specs[part].dtype, device=device)
                self.register_parameter(part, nn.Parameter(as_bits(empty), requires_grad=False))
            else:
                self.register_parameter(part, None)
        # Transformers initialises weights by the kind of module; nothing here is to be initialised.
        self._is_hf_initialized = True

    def fill(self, packed: PackedTensor) -> Self:
        """Take the parts of a packed tensor of the record's format and shape."""
        if packed.format != self.record.format or packed.shape != self.record.shape:
            raise ValueError(
                f"{self.record.name} holds {self.record.format} {self.record.shape}, given "
                f"{packed.format} {packed.shape}"
            )
        for part, tensor in packed.parts().items():
            setattr(self, part, nn.Parameter(as_bits(tensor), requires_grad=False))
        return self

    def settle(self) -> None:
        """Bring parts that a loader has set as floating point back to bits, without a copy."""
        for part in PARTS:
            tensor = getattr(self, part)
            if tensor is not None and (tensor.is_floating_point() or tensor.requires_grad):
                setattr(self, part, nn.Parameter(as_bits(tensor.detach()), requires_grad=False))

    def parts(self) -> dict[str, Tensor]:
        """The parts as they are stored: codes, scales in their own type, …; views, no copies."""
        specs = part_specs(self.record)
        return {part: getattr(self, part).detach().view(spec.dtype) for part, spec in specs.items()}

    @property
    def packed(self) -> PackedTensor:
        """The weight as `kbit.formats` knows it; views, no copies."""
        # Made once and kept while the parts stay where they are: a token's time is many small layers.
        where = tuple(p.data_ptr() for p in self._parameters.values() if p is not None)
        cached: tuple[tuple[int, ...], PackedTensor] | None = self.__dict__.get("_cached_packed")
        if cached is None or cached[0] != where or not where[0]:
            packed = PackedTensor(format=self.record.format, shape=self.record.shape, **self.parts())
            self.__dict__["_cached_packed"] = cached = (where, packed)
        return cached[1]

    def __getstate__(self) -> dict[str, Any]:
        return {key: value for key, value in self.__dict__.items() if key != "_cached_packed"}

    @property
    def weight(self) -> Tensor:
        """The dense weight in float32, decoded anew at each access and not kept.

        For code that looks into a layer (adapters, architectures that bypass `forward`); products use
        the packed weight.
        """
        return decode(self.packed)

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Self:
        kept = {part: getattr(self, part) for part in PARTS if getattr(self, part) is not None}

        def move_only(tensor: Tensor) -> Tensor:
            result = fn(tensor)
            if result.dtype != tensor.dtype and any(tensor is p or tensor is p.data for p in kept.values()):
                return tensor.to(result.device)
            return result

        self.__dict__.pop("_cached_packed", None)
        super()._apply(move_only, recurse)  # type: ignore[no-untyped-call]
        return self
