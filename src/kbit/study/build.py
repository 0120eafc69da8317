"""Models as a study needs them: at 16 bits, and quantised; each made once while tasks ask for it."""

import contextlib
import gc
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from kbit.study.task import ModelSource


class ModelShelf:
    """Holds at most one 16-bit model, one model at another format, and their tokeniser.

    Args of the constructor:
        folder: where k-bit models are written on their way into memory.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._reference: tuple[tuple[str, str], Any] | None = None
        self._other: tuple[ModelSource, Any] | None = None
        self._tokenizer: tuple[str, Any] | None = None

    def tokenizer(self, source: ModelSource) -> Any:
        """The model's tokeniser."""
        if self._tokenizer is None or self._tokenizer[0] != source.path:
            from kbit.models import load_tokenizer

            self._tokenizer = source.path, load_tokenizer(source.path)
        return self._tokenizer[1]

    def reference(self, source: ModelSource) -> Any:
        """The 16-bit model, computing in the source's data type."""
        key = source.path, source.dtype
        if self._reference is None or self._reference[0] != key:
            self._reference = self._other = None
            gc.collect()
            self._reference = (
                key,
                _load_dense(source.path, weights=DENSE.get(source.reference), dtype=source.dtype),
            )
        return self._reference[1]

    def model(self, source: ModelSource) -> Any:
        """The model in the source's format."""
        if source.format == source.reference:
            return self.reference(source)
        if self._other is None or self._other[0] != source:
            self._other = None
            gc.collect()
            self._other = source, self._make(source)
        return self._other[1]

    def _make(self, source: ModelSource) -> Any:
        if source.format in DENSE:
            return _load_dense(source.path, weights=DENSE[source.format], dtype=source.dtype)
        import torch

        from kbit.models import load
        from kbit.quantize import quantize_model

        out = self._folder / "model"
        shutil.rmtree(out, ignore_errors=True)
        try:
            quantize_model(
                source.path,
                out,
                format=source.format,
                method=source.method or "nearest",
                embeddings=source.embeddings,
                head=source.head,
            )
            with _without_bars():
                return load(out, dtype=getattr(torch, source.dtype))
        finally:
            shutil.rmtree(out, ignore_errors=True)


# weight format -> PyTorch's name of the data type
DENSE = {"bf16": "bfloat16", "fp16": "float16", "fp32": "float32"}


def _load_dense(path: str, *, weights: str | None, dtype: str) -> Any:
    """Load a model with its weights rounded to one data type (None: as stored), to compute in another."""
    import torch

    from kbit.models import load

    with _without_bars():
        model = load(path, dtype=getattr(torch, weights or dtype))
    return model.to(getattr(torch, dtype))


@contextlib.contextmanager
def _without_bars() -> Iterator[None]:
    """Transformers draws a bar for each model it loads, on a terminal or not; the study has its own."""
    from transformers.utils import logging

    shown = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            logging.enable_progress_bar()
