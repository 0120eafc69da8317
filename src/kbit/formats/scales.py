"""Scales and offsets as they are stored: rounded to a floating type, or coded in two levels."""

from dataclasses import dataclass

import torch
from torch import Tensor

from kbit.errors import FormatError
from kbit.formats.weight_format import SECOND_LEVEL_GROUP, WeightFormat

TORCH_SCALES: dict[str, torch.dtype] = {
    "fp16": torch.float16,
    "bf16": torch.bfloat16,
    "fp32": torch.float32,
    "q8": torch.uint8,
}


def scale_dtype(fmt: WeightFormat) -> torch.dtype:
    """Type of the stored scales; `uint8` codes where they have two levels."""
    return TORCH_SCALES[fmt.scale]


def offset_dtype(fmt: WeightFormat) -> torch.dtype:
    """Type of the stored offsets: that of the scales, but signed where they have two levels."""
    return torch.int8 if fmt.scale == "q8" else TORCH_SCALES[fmt.scale]


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class StoredScales:
    """Scales (or offsets) of one tensor as they lie on disk.

    Attributes:
        stored: [rows, blocks], [blocks] or [1], in the format's type; codes where there are two levels.
        second: bfloat16, one for each 256 consecutive codes of the flattened `stored`; None for one level.
    """

    stored: Tensor
    second: Tensor | None = None

    @property
    def values(self) -> Tensor:
        """What they stand for, float32, shaped like `stored`; exact, since a product has 16 bits."""
        if self.second is None:
            return self.stored.float()
        steps = self.second.float().repeat_interleave(SECOND_LEVEL_GROUP)[: self.stored.numel()]
        return self.stored.float() * steps.reshape(self.stored.shape)


def store_scales(wanted: Tensor, fmt: WeightFormat) -> StoredScales:
    """Round scales to what the format stores; one that is wanted above zero stays above zero.

    Args:
        wanted: not negative, shaped like the stored scales; float64 keeps the rounding single.
        fmt: a packed format.

    Raises:
        FormatError: a scale beyond the type's range.
    """
    wanted = wanted.double().clamp_min(0.0)
    if fmt.scale == "q8":
        second = _second_level(wanted, 255, fmt, "a scale")
        codes = _codes(wanted, second).clamp(0, 255)
        codes = torch.where((wanted > 0) & (codes == 0), torch.ones_like(codes), codes)
        return StoredScales(stored=codes.to(torch.uint8), second=second)
    dtype = TORCH_SCALES[fmt.scale]
    scales = _rounded(wanted, dtype, fmt, "a scale")
    least = torch.finfo(dtype).smallest_normal * torch.finfo(dtype).eps
    return StoredScales(
        stored=torch.where((wanted > 0) & (scales == 0), torch.full_like(scales, least), scales)
    )


def store_offsets(wanted: Tensor, fmt: WeightFormat) -> StoredScales:
    """Round offsets to what the format stores: its scale type, or signed 8-bit codes in two levels.

    Raises:
        FormatError: an offset beyond the type's range.
    """
    wanted = wanted.double()
    if fmt.scale == "q8":
        second = _second_level(wanted.abs(), 127, fmt, "an offset")
        return StoredScales(stored=_codes(wanted, second).clamp(-127, 127).to(torch.int8), second=second)
    return StoredScales(stored=_rounded(wanted, TORCH_SCALES[fmt.scale], fmt, "an offset"))


def _second_level(magnitudes: Tensor, top: int, fmt: WeightFormat, what: str) -> Tensor:
    """The step of each group: its largest magnitude is the code `top`."""
    flat = magnitudes.reshape(-1)
    groups = torch.nn.functional.pad(flat, (0, -len(flat) % SECOND_LEVEL_GROUP)).view(-1, SECOND_LEVEL_GROUP)
    if not len(groups):
        return torch.zeros(0, dtype=torch.bfloat16, device=flat.device)
    step = groups.amax(dim=1) / top
    second = _rounded(step, torch.bfloat16, fmt, what)
    least = torch.finfo(torch.bfloat16).smallest_normal * torch.finfo(torch.bfloat16).eps
    return torch.where((step > 0) & (second == 0), torch.full_like(second, least), second)


def _codes(wanted: Tensor, second: Tensor) -> Tensor:
    steps = second.double().repeat_interleave(SECOND_LEVEL_GROUP)[: wanted.numel()].reshape(wanted.shape)
    return torch.where(steps > 0, wanted / steps, torch.zeros_like(wanted)).round()


def _rounded(wanted: Tensor, dtype: torch.dtype, fmt: WeightFormat, what: str) -> Tensor:
    rounded = wanted.to(dtype)
    if not bool(torch.isfinite(rounded).all()):
        raise FormatError(
            f"{what} of {float(wanted.abs().max()):.6g} is beyond {fmt.scale} "
            f"(at most {torch.finfo(dtype).max:.6g}): use {_wider(fmt)}"
        )
    return rounded


def _wider(fmt: WeightFormat) -> str:
    if fmt.scale != "fp16":
        return "bf16 or 16-bit storage for this tensor"
    return f"bf16 scales, {str(fmt) + ':bf16'!r}"


def spread_scales(scales: Tensor, fmt: WeightFormat, rows: Tensor, cols: int) -> Tensor:
    """The scale of each weight of some rows.

    Args:
        scales: shaped as stored, any type.
        fmt: the format.
        rows: [n] row numbers.
        cols: weights in a row.

    Returns:
        A tensor that broadcasts to [n, cols].
    """
    if fmt.block == "tensor":
        return scales.reshape(-1, 1)
    if fmt.flat:
        at = rows[:, None] * cols + torch.arange(cols, device=scales.device)
        return scales[at // int(fmt.block)]
    picked = scales[rows]
    if fmt.block == "row":
        return picked
    return picked.repeat_interleave(int(fmt.block), dim=1)[:, :cols]
