"""What a format does to a model when one layer has it: measured, or predicted from the weights alone."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from kbit.formats import WeightFormat, decode, encode, gaussian_mse
from kbit.models.load import load
from kbit.models.record import LayerRecord
from kbit.models.safetensors_read import read_folder_tensors
from kbit.quantize.calibration.blocks import Blocks, compute_in_float32
from kbit.quantize.calibration.hidden import Batch, batches
from kbit.quantize.calibration.inputs import input_groups
from kbit.quantize.calibration.run import layers_of, set_weight, weight_of
from kbit.quantize.calibration.text import Calibration
from kbit.quantize.codes.choose import Moments, Recipe, choose_codes
from kbit.quantize.plan import PlannedTensor

Progress = Callable[[int, int, str], None]
# Tokens on which the predictions with one layer changed are compared with the original's.
PROBE_TOKENS = 4096
# Tokens over which inputs are summed for the errors of each format.
MOMENT_TOKENS = 16_384


@dataclass(frozen=True, kw_only=True, slots=True)
class Damage:
    """What each format does at each layer; comparable between layers, and additive for small damage.

    Attributes:
        by_layer: layer, then format as written, to damage.
        unit: what a number means.
    """

    by_layer: Mapping[str, Mapping[str, float]]
    unit: str


def predicted_damage(
    folder: Path, planned: Sequence[PlannedTensor], formats: Sequence[WeightFormat]
) -> Damage:
    """Squared error of each layer's weight over its own square, times its weights: no text is read.

    Args:
        folder: the 16-bit model.
        planned: of its tensors, those that are packed.
        formats: to be compared.
    """
    tensors = read_folder_tensors(folder)
    found: dict[str, dict[str, float]] = {}
    for tensor in planned:
        record = tensor.record
        if record is None:
            continue
        weight = tensor.read(tensors).float()
        weight = weight.T.contiguous() if record.transposed else weight
        power = float(weight.square().sum()) or 1.0
        found[record.name] = {
            str(fmt): weight.numel() * _relative_error(weight, fmt, power) for fmt in formats
        }
    return Damage(by_layer=found, unit="squared error over the weight's square, times weights")


def _relative_error(weight: Tensor, fmt: WeightFormat, power: float) -> float:
    if fmt.datatype.window is not None:
        # Blocks scaled by their root mean square are near enough to Gaussian; to code them takes long.
        return gaussian_mse(fmt)
    return float((decode(encode(weight, fmt)) - weight).square().sum()) / power


def measured_damage(
    folder: Path,
    records: Sequence[LayerRecord],
    calibration: Calibration,
    formats: Sequence[WeightFormat],
    recipe: Recipe,
    *,
    progress: Progress | None = None,
) -> Damage:
    """KL divergence of the predictions when one layer is quantised and all else is as it was.

    For each layer it is measured at the format nearest to 4 bits and, for small damage, goes with the squared
    error of the layer's output; so the others follow from their errors under the same second moments.

    Args:
        folder: the 16-bit model.
        records: layers that are to get a format; those outside the decoder layers are left out.
        calibration: the text; 4,096 tokens of it are predicted, 16,384 give the moments.
        formats: to be compared.
        recipe: how codes will be chosen.
        progress: called with layers done, layers in all, and the name of the next.

    Raises:
        ModelError: an architecture without a list of decoder layers.
    """
    blocks = Blocks(load(folder))
    compute_in_float32(blocks.model, blocks.layers)
    inside = layers_of(blocks, records)
    moment_batches = batches(_first(calibration.windows, MOMENT_TOKENS))
    probe_batches = batches(_first(calibration.windows, PROBE_TOKENS))
    hidden = [blocks.embed(batch.ids) for batch in moment_batches]
    probes = [blocks.embed(batch.ids) for batch in probe_batches]
    reference = [
        _chances(blocks, b, _through(blocks, 0, b, h)) for b, h in zip(probe_batches, probes, strict=True)
    ]
    # Damage there is small enough to add up and large enough to be seen.
    middle = min(formats, key=lambda fmt: abs(fmt.bits - 4))
    total, done = sum(map(len, inside)), 0
    found: dict[str, dict[str, float]] = {}
    for index, layers in enumerate(inside):
        block = blocks.copy_of(index)
        by_name = dict(layers)
        moments = _moments(blocks, index, block, list(by_name), moment_batches, hidden) if layers else {}
        for name, record in layers:
            if progress is not None:
                progress(done, total, record.name)
            done += 1
            if name not in moments:
                continue
            weight = weight_of(block.get_submodule(name), record)
            errors: dict[str, float] = {}
            # The middle first: trellis-coded types differ in a factor that does not depend on the weight. So
            # do, near enough, those of 8 bits, where little is lost; to choose their codes takes long.
            for fmt in sorted(formats, key=lambda fmt: fmt != middle):
                simple = fmt.datatype.window is not None or fmt.bits >= 8
                if fmt != middle and simple and middle.datatype.window is not None:
                    share = gaussian_mse(fmt) / gaussian_mse(middle)
                    errors[str(fmt)] = errors[str(middle)] * share
                    continue
                chosen = choose_codes(weight, fmt, moments[name], recipe)
                errors[str(fmt)] = chosen.error
                if fmt == middle:
                    changed = blocks.copy_of(index)
                    set_weight(changed.get_submodule(name), record, decode(chosen.packed))
                    kl = _divergence(blocks, index, changed, probe_batches, probes, reference)
            unit = kl / errors[str(middle)] if errors[str(middle)] > 0 else 0.0
            found[record.name] = {str(fmt): unit * errors[str(fmt)] for fmt in formats}
        hidden = [blocks.run(index, block, b.ids, h) for b, h in zip(moment_batches, hidden, strict=True)]
        probes = [blocks.run(index, block, b.ids, h) for b, h in zip(probe_batches, probes, strict=True)]
    return Damage(by_layer=found, unit="KL divergence in nats a token with this layer alone quantised")


def _first(windows: Sequence[Tensor], tokens: int) -> list[Tensor]:
    """Windows until so many tokens are reached; at least one, cut where it is longer than all of them."""
    chosen: list[Tensor] = []
    left = tokens
    for window in windows:
        if left <= 1:
            break
        chosen.append(window[:left])
        left -= len(window)
    return sorted(chosen, key=len, reverse=True)


def _moments(
    blocks: Blocks,
    index: int,
    block: torch.nn.Module,
    names: Sequence[str],
    made: Sequence[Batch],
    hidden: Sequence[Tensor],
) -> dict[str, Moments]:
    """Second moments of the inputs of all layers of a block, in one pass."""
    groups = input_groups(blocks, index, block, names, made[0], hidden[0])
    sums: dict[str, Tensor] = {}
    counts: dict[str, int] = {}

    def add(name: str) -> Callable[[torch.nn.Module, tuple[Tensor, ...]], None]:
        def hook(_module: torch.nn.Module, args: tuple[Tensor, ...]) -> None:
            x = args[0].reshape(-1, args[0].shape[-1]).float()
            product = (x.T @ x).double()
            sums[name] = sums[name] + product if name in sums else product
            counts[name] = counts.get(name, 0) + len(x)

        return hook

    first = [group.names[0] for group in groups]
    handles = [block.get_submodule(n).register_forward_pre_hook(add(n)) for n in first]
    try:
        for batch, given in zip(made, hidden, strict=True):
            blocks.run(index, block, batch.ids, given)
    finally:
        for handle in handles:
            handle.remove()
    return {
        name: Moments(hessian=sums[group.names[0]], cross=None, tokens=counts[group.names[0]])
        for group in groups
        if group.names[0] in sums
        for name in group.names
    }


def _through(blocks: Blocks, start: int, batch: Batch, hidden: Tensor) -> Tensor:
    for index in range(start, len(blocks)):
        hidden = blocks.run(index, blocks.copy_of(index), batch.ids, hidden)
    return hidden


@torch.inference_mode()
def _chances(blocks: Blocks, batch: Batch, hidden: Tensor) -> Tensor:
    """Log-probabilities of the next token, float32 [tokens, vocabulary]."""
    last = blocks.finish(batch.ids, hidden)
    head = blocks.model.get_output_embeddings()
    logits = torch.nn.functional.linear(last, head.weight.float(), getattr(head, "bias", None))
    return logits.reshape(-1, logits.shape[-1]).log_softmax(dim=-1)


def _divergence(
    blocks: Blocks,
    index: int,
    changed: torch.nn.Module,
    made: Sequence[Batch],
    hidden: Sequence[Tensor],
    reference: Sequence[Tensor],
) -> float:
    total, tokens = 0.0, 0
    for batch, given, log_p in zip(made, hidden, reference, strict=True):
        out = blocks.run(index, changed, batch.ids, given)
        log_q = _chances(blocks, batch, _through(blocks, index + 1, batch, out))
        d = log_q - log_p
        # sum p (e^d - 1 - d): no term is negative, so little divergences do not drown in rounding.
        total += float((log_p.exp() * (d.expm1() - d)).sum(dtype=torch.float64))
        tokens += len(log_p)
    if not math.isfinite(total):
        return math.inf
    return total / tokens
