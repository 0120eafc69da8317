"""Checkpoints: one safetensors file, whole or absent, and nothing in it is ever unpickled."""

import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from kbit.errors import TrainingError

VERSION = 1


@dataclass(frozen=True, kw_only=True, slots=True)
class Progress:
    """Where a run stands. The next step to do is also its position in the data."""

    run: str  # hash of everything that decides the losses
    step: int
    wall_s: float


def save_checkpoint(
    path: Path, *, model: nn.Module, optimizer: torch.optim.Optimizer, progress: Progress
) -> None:
    """Write weights, optimiser state, random state and progress to a temporary name, sync, rename."""
    trained = _trained(model)
    names = {id(parameter): name for name, parameter in trained}
    tensors = {f"model.{name}": parameter.detach() for name, parameter in trained}
    for parameter, state in optimizer.state.items():
        for key, value in state.items():
            tensors[f"optimizer.{key}.{names[id(parameter)]}"] = value
    tensors["random.torch"] = torch.get_rng_state()
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(path.name + ".tmp")
    record = json.dumps({"version": VERSION, **asdict(progress)})
    save_file({k: v.contiguous() for k, v in tensors.items()}, temporary, metadata={"kbit": record})
    sync(temporary)
    temporary.replace(path)
    sync(path.parent)


def load_checkpoint(
    path: Path, *, model: nn.Module, optimizer: torch.optim.Optimizer, run: str
) -> Progress | None:
    """Put a run back where its checkpoint stands.

    Returns:
        The progress, or None where there is no checkpoint.

    Raises:
        TrainingError: the file is broken, or belongs to another recipe, text or version.
    """
    if not path.exists():
        return None
    try:
        with safe_open(path, framework="pt") as file:
            record = json.loads((file.metadata() or {}).get("kbit", "{}"))
            tensors: dict[str, Tensor] = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
    except SafetensorError as error:
        raise TrainingError(
            f"the checkpoint {path} cannot be read ({error}). Remove it to start anew."
        ) from error
    if record.pop("version", None) != VERSION or record.get("run") != run:
        raise TrainingError(
            f"the checkpoint {path} belongs to another recipe, text or version of kbit. "
            "Choose another --out, or remove the folder to start anew."
        )
    with torch.no_grad():
        for name, parameter in _trained(model):
            parameter.copy_(tensors[f"model.{name}"])
            state = {
                key.split(".", 2)[1]: value
                for key, value in tensors.items()
                if key.startswith("optimizer.") and key.split(".", 2)[2] == name
            }
            if state:
                optimizer.state[parameter] = {key: value.to(parameter.device) for key, value in state.items()}
    torch.set_rng_state(tensors["random.torch"])
    return Progress(**record)


def _trained(model: nn.Module) -> list[tuple[str, nn.Parameter]]:
    """What a checkpoint holds: frozen weights (a base beside an adapter) lie where they were read from."""
    return [(name, parameter) for name, parameter in model.named_parameters() if parameter.requires_grad]


def write_text(path: Path, text: str) -> None:
    """Write a small file atomically."""
    temporary = path.with_name(path.name + ".tmp")
    temporary.write_text(text)
    sync(temporary)
    temporary.replace(path)
    sync(path.parent)


def sync(path: Path) -> None:
    """Flush a file or folder to the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
