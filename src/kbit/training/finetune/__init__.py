"""Fine-tuning: LoRA beside frozen layers, packed or not, or every weight; the loss on the answer only."""

from kbit.training.finetune.finetune import FineTuned, Start, finetune
from kbit.training.finetune.reading import read_tuning
from kbit.training.finetune.run import TuningStep
from kbit.training.finetune.settings import IMBALANCE, METHODS, PRECISIONS, TOO_LONG, Tuning, check_tuning
from kbit.training.finetune.share import held_out_share

__all__ = [
    "IMBALANCE",
    "METHODS",
    "PRECISIONS",
    "TOO_LONG",
    "FineTuned",
    "Start",
    "Tuning",
    "TuningStep",
    "check_tuning",
    "finetune",
    "held_out_share",
    "read_tuning",
]
