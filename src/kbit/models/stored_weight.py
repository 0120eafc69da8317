"""What every k-bit module has in common: stored parts as parameters that move but are never cast."""

from collections.abc import Callable, Mapping
from typing import Any, Self

import torch
from torch import Tensor, nn

from kbit.formats import PackedTensor, decode
from kbit.formats.packed import PACKED_PARTS
from kbit.kernels import product
from kbit.models.inputs import InputTransform, read_transform
from kbit.models.record import LayerRecord
from kbit.models.stored_parts import INPUT_PARTS, PARTS, part_specs

# A scale is held as the bits it has on disk, in an integer type of its width. Were it floating point, a
# cast of the model would widen it, an optimiser could move it, and `model.dtype`, which Transformers
# takes from the first floating parameter, would name the scales' type instead of the model's.
_BITS_OF = {2: torch.int16, 4: torch.int32}


def as_bits(tensor: Tensor) -> Tensor:
    """The same memory seen as integers, if it holds floating point."""
    return tensor.view(_BITS_OF[tensor.dtype.itemsize]) if tensor.is_floating_point() else tensor


_Views = tuple[tuple[int, ...], PackedTensor, InputTransform | None]


class StoredWeight(nn.Module):
    """Mixin of modules that hold one packed weight. Their class calls `hold(record)` once.

    Parts are `Parameter(requires_grad=False)` rather than buffers: buffers are left out of
    `num_parameters`, `get_memory_footprint` and device maps.
    """

    record: LayerRecord
    numerics: str = "a16"  # how products are taken; `set_numerics` sets it

    def hold(self, record: LayerRecord, *, device: Any = None) -> None:
        """Make room for the parts of `record`, unfilled."""
        self.record = record
        self.format_text = str(record.format)
        specs = part_specs(record)
        for part in PARTS:
            if part in specs:
                empty = torch.empty(specs[part].shape, dtype=specs[part].dtype, device=device)
                self.register_parameter(part, nn.Parameter(as_bits(empty), requires_grad=False))
            else:
                self.register_parameter(part, None)
        # Transformers initialises weights by the kind of module; nothing here is to be initialised.
        self._is_hf_initialized = True

    def fill(self, packed: PackedTensor, inputs: Mapping[str, Tensor] | None = None) -> Self:
        """Take the parts of a packed tensor, and of a transform of the inputs where the record has one.

        A table that another layer stores is not taken: see `use_table_of`.
        """
        if packed.format != self.record.format or packed.shape != self.record.packed_shape:
            raise ValueError(
                f"{self.record.name} holds {self.record.format} {self.record.packed_shape}, given "
                f"{packed.format} {packed.shape}"
            )
        given = {**packed.parts(), **(inputs or {})}
        for part in part_specs(self.record):
            setattr(self, part, nn.Parameter(as_bits(given[part]), requires_grad=False))
        return self

    def use_table_of(self, owner: "StoredWeight") -> None:
        """Decode with the table that another module stores; it appears in that module's state only."""
        # Past nn.Module's registration, as a tied head's embedding is.
        object.__setattr__(self, "_table_owner", owner)

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
        """The packed weight as `kbit.formats` knows it; views, no copies."""
        return self._views()[1]

    @property
    def inputs(self) -> InputTransform | None:
        """What happens to the input before it meets the codes; None where nothing does."""
        return self._views()[2]

    def _views(self) -> _Views:
        # Made once and kept while the parts stay where they are: a token's time is many small layers.
        where = tuple(p.data_ptr() for p in self._parameters.values() if p is not None)
        cached: _Views | None = self.__dict__.get("_cached_views")
        if cached is None or cached[0] != where or not where[0]:
            parts = self.parts()
            stored = {part: tensor for part, tensor in parts.items() if part in PACKED_PARTS}
            if self.record.table_of is not None:
                stored["table"] = self.__dict__["_table_owner"].parts()["table"]
            packed = PackedTensor(format=self.record.format, shape=self.record.packed_shape, **stored)
            of_inputs = {part: tensor for part, tensor in parts.items() if part in INPUT_PARTS}
            inputs = read_transform(self.record, of_inputs) if self.record.transforms_inputs else None
            self.__dict__["_cached_views"] = cached = (where, packed, inputs)
        return cached

    def multiply(self, x: Tensor, bias: Tensor | None = None) -> Tensor:
        """X W^T + bias with the packed weight; in a compiled graph, by the operator `kbit::product`."""
        if torch.compiler.is_compiling():
            rows, cols = self.record.packed_shape
            product_of_parts = torch.ops.kbit.product
            y: Tensor = product_of_parts(
                x, bias, *self.packed_parameters(), self.format_text, rows, cols, self.numerics
            )
            return y
        return product(x, self.packed, bias=bias, numerics=self.numerics)

    def packed_parameters(self) -> list[Tensor | None]:
        """The parts of the packed weight in the order of `PACKED_PARTS`, as the operators take them."""
        parts = [getattr(self, part) for part in PACKED_PARTS]
        if self.record.table_of is not None:
            parts[PACKED_PARTS.index("table")] = self.__dict__["_table_owner"].table
        return parts

    def __getstate__(self) -> dict[str, Any]:
        return {key: value for key, value in self.__dict__.items() if key != "_cached_views"}

    @property
    def weight(self) -> Tensor:
        """The dense weight in float32, decoded anew at each access and not kept.

        For code that looks into a layer (adapters, architectures that bypass `forward`); products use
        the packed weight.
        """
        return self.dense()

    def dense(self, dtype: torch.dtype = torch.float32) -> Tensor:
        """The dense weight [rows, columns], rounded once to `dtype`."""
        if self.inputs is None:
            return decode(self.packed, dtype)
        return self.inputs.dense_weight(decode(self.packed)).to(dtype)

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Self:
        kept = {part: getattr(self, part) for part in PARTS if getattr(self, part) is not None}

        def move_only(tensor: Tensor) -> Tensor:
            result = fn(tensor)
            if result.dtype != tensor.dtype and any(tensor is p or tensor is p.data for p in kept.values()):
                return tensor.to(result.device)
            return result

        self.__dict__.pop("_cached_views", None)
        super()._apply(move_only, recurse)  # type: ignore[no-untyped-call]
        return self
