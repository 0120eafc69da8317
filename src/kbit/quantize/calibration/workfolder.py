"""What a calibration has done so far, on disk: killed and begun again, it goes on where it was."""

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from kbit.models.atomic_folder import replace_file
from kbit.models.safetensors_header import TensorSpec
from kbit.models.safetensors_read import read_folder_tensors
from kbit.models.write import FolderWriter

STATE = "state.json"


class WorkFolder:
    """Finished blocks with their codes, and the hidden states that enter the next.

    Args of the constructor:
        folder: where; made if need be.
        identity: all that the codes follow from. What was done for another identity is thrown away.
    """

    def __init__(self, folder: Path, identity: Mapping[str, Any]) -> None:
        self.folder = folder
        self._identity = json.loads(json.dumps(identity))
        self.done: list[str] = []
        self.notes: dict[str, Any] = {}
        state = self._read()
        if state is None:
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir(parents=True)
        else:
            self.done, self.notes = state["done"], state["notes"]

    def finish(self, stage: str, parts: Mapping[str, torch.Tensor], notes: Mapping[str, Any]) -> None:
        """Store a stage's tensors and say that it is done; a kill in between leaves it undone."""
        target = self.folder / stage
        shutil.rmtree(target, ignore_errors=True)
        target.mkdir()
        if parts:
            specs = [TensorSpec(name=n, dtype=t.dtype, shape=tuple(t.shape)) for n, t in parts.items()]
            with FolderWriter(target, specs) as writer:
                for name, tensor in parts.items():
                    writer.write(name, tensor)
        self.done.append(stage)
        self.notes |= notes
        state = {"identity": self._identity, "done": self.done, "notes": self.notes}
        replace_file(self.folder / STATE, json.dumps(state).encode())

    def parts(self, stage: str) -> dict[str, torch.Tensor]:
        """Tensors of a finished stage."""
        folder = self.folder / stage
        if not any(folder.glob("*.safetensors")):
            return {}
        tensors = read_folder_tensors(folder)
        return {name: tensors.read(name) for name in tensors.tensors}

    def remove(self) -> None:
        """Throw everything away."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def _read(self) -> dict[str, Any] | None:
        try:
            state = json.loads((self.folder / STATE).read_text())
        except (OSError, ValueError):
            return None
        usable = isinstance(state, dict) and state.get("identity") == self._identity
        return state if usable else None
