"""A trained rung as an ordinary Hugging Face folder, whole or absent."""

import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from transformers import PreTrainedModel, PreTrainedTokenizerFast
from transformers.utils import logging as transformers_logging

from kbit.training.checkpoint import sync

RECORD = "training.json"


def export_rung(
    folder: Path, *, model: PreTrainedModel, tokenizer: PreTrainedTokenizerFast, record: dict[str, Any]
) -> None:
    """Write weights in bfloat16, tokenizer and `training.json`, then rename the folder into place.

    Args:
        folder: the folder to make; one that is there is replaced.
        model: its float32 weights are rounded in place to bfloat16.
        tokenizer: saved beside the model.
        record: what `training.json` holds.
    """
    temporary = folder.with_name(folder.name + ".tmp")
    shutil.rmtree(temporary, ignore_errors=True)
    with quiet():
        model.to(torch.bfloat16).save_pretrained(temporary)
    tokenizer.save_pretrained(temporary)
    (temporary / RECORD).write_text(json.dumps(record, indent=2) + "\n")
    for file in temporary.iterdir():
        sync(file)
    if folder.exists():
        shutil.rmtree(folder)
    temporary.rename(folder)
    sync(folder.parent)


@contextmanager
def quiet() -> Iterator[None]:
    """Keep Transformers' progress bars off stderr, which tells of the training."""
    shown = transformers_logging.is_progress_bar_enabled()
    transformers_logging.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            transformers_logging.enable_progress_bar()


def read_record(folder: Path) -> dict[str, Any] | None:
    """The `training.json` of a finished rung, or None."""
    file = folder / RECORD
    if not file.exists():
        return None
    record: dict[str, Any] = json.loads(file.read_text())
    return record
