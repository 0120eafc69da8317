"""Models as commands take them: loaded with their tokeniser, quantised first where that is asked."""

import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import Any


def load_both(path_or_id: str, dtype: str, numerics: str = "a16") -> tuple[Any, Any]:
    """A model, to compute in the data type of this name (`auto`: its own), and its tokeniser.

    `numerics` is how its packed layers multiply: `a16`, or `a8` with activations of 8 bits.
    """
    import torch

    from kbit.models import load, load_tokenizer

    tokenizer = load_tokenizer(path_or_id)
    chosen = None if dtype == "auto" else getattr(torch, dtype)
    return load(path_or_id, dtype=chosen, numerics=numerics), tokenizer


def quantised(stack: ExitStack, model: str, weight_format: str) -> str:
    """The model at a weight format, in a folder that goes when the stack is closed."""
    from kbit.quantize import quantize_model

    folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="kbit-model-"))) / "model"
    quantize_model(model, folder, format=weight_format)
    return str(folder)
