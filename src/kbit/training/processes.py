"""Which of several processes this is: `accelerate launch` starts them, one a device; alone otherwise."""

import os
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from kbit.errors import TrainingError


@dataclass(frozen=True, kw_only=True, slots=True)
class Processes:
    """The processes that train one model together.

    Attributes:
        count: how many; each takes an equal share of every step's windows.
        rank: which of them this is; 0 writes.
        device: where this one computes.
    """

    count: int = 1
    rank: int = 0
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    accelerator: Any = None

    @property
    def main(self) -> bool:
        """Whether this process writes checkpoints, logs and models."""
        return self.rank == 0

    def wrap(self, module: nn.Module) -> nn.Module:
        """The module with gradients averaged over processes as they are made; itself where alone."""
        wrapped: nn.Module = module if self.accelerator is None else self.accelerator.prepare_model(module)
        return wrapped

    def mean(self, value: float) -> float:
        """The mean of a number over all processes."""
        if self.accelerator is None:
            return value
        number = torch.tensor(value, dtype=torch.float64, device=self.device)
        return float(self.accelerator.reduce(number, reduction="mean"))

    def share(self, windows: Tensor) -> Tensor:
        """This process's rows of a batch, on its device."""
        return windows[self.rank :: self.count].to(self.device)

    def wait(self) -> None:
        """Until every process has come here."""
        if self.accelerator is not None:
            self.accelerator.wait_for_everyone()


def speaks() -> bool:
    """Whether this process is the one that prints, by the environment alone."""
    return os.environ.get("RANK", "0") == "0"


def processes() -> Processes:
    """As the environment tells: `accelerate launch` or `torchrun` set `WORLD_SIZE`.

    Raises:
        TrainingError: several processes are asked for and Accelerate is not installed.
    """
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        return Processes(device=device)
    try:
        from accelerate import Accelerator
    except ImportError as error:
        raise TrainingError(
            "training with several processes needs Accelerate: pip install 'kbit[distributed]'"
        ) from error
    accelerator = Accelerator(cpu=device.type == "cpu")
    return Processes(
        count=accelerator.num_processes,
        rank=accelerator.process_index,
        device=accelerator.device,
        accelerator=accelerator,
    )
