"""The calibration of a model, from documents or from the model itself."""

from collections.abc import Iterable
from pathlib import Path

from kbit.corpus import Document
from kbit.models.cache_facts import cache_facts
from kbit.models.load import load, load_tokenizer
from kbit.models.locate import locate, read_config
from kbit.quantize.calibration.own_text import calibration_from_itself
from kbit.quantize.calibration.text import (
    DEFAULT_CONTEXT,
    DEFAULT_TOKENS,
    Calibration,
    calibration_from_documents,
)


def calibration_for(
    source: str | Path,
    documents: Iterable[Document] | None,
    *,
    tokens: int = DEFAULT_TOKENS,
    context: int | None = None,
    seed: int = 0,
) -> Calibration:
    """Windows of tokens for a model to calibrate on.

    Args:
        source: the 16-bit model: a folder or a hub id.
        documents: the text; None lets the model write its own.
        tokens: at most so many are read; about so many are written.
        context: tokens in a window; None for what the model was built for, at most 2,048.
        seed: of the choice of windows, or of the writing.

    Raises:
        ModelError: no such model, or it has no tokeniser.
        UsageError: too little text.
    """
    folder = locate(source)
    tokenizer = load_tokenizer(folder)
    longest = cache_facts(read_config(folder)).get("max_context") or DEFAULT_CONTEXT
    length = context or min(longest, DEFAULT_CONTEXT)
    if documents is None:
        return calibration_from_itself(load(folder), tokenizer, context=length, tokens=tokens, seed=seed)
    return calibration_from_documents(tokenizer, documents, context=length, tokens=tokens, seed=seed)
