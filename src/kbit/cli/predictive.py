"""What `kbit compress` and `kbit decompress` share: the coder that predicts, from options."""

import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from cyclopts import Parameter

from kbit.errors import CoderError, UsageError

if TYPE_CHECKING:
    from kbit.coders.predictor import PredictiveCoder

Progress = Callable[[int, int], None]


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class CoderChoice:
    """The coder, by options that are the same for writing and for reading."""

    coder: Annotated[
        str | None, Parameter(help="A coder by name, as `kbit ls coders` lists them (those that predict).")
    ] = None
    model: Annotated[str | None, Parameter(help="A language model: a folder or a hub id.")] = None
    weight_format: Annotated[
        str | None, Parameter(name="--format", help="Quantise the model to this first, such as nf4:b64.")
    ] = None
    baseline_text: Annotated[
        list[Path] | None,
        Parameter(consume_multiple=True, help="What a coder such as kneser-ney-6 is fitted to."),
    ] = None
    context: Annotated[int | None, Parameter(help="Most tokens a model reads at once.")] = None
    stride: Annotated[int | None, Parameter(help="Tokens from window to window [half the context].")] = None
    prefix: Annotated[str | None, Parameter(help="Token before the text [begin-of-text, or end].")] = None
    dtype: Annotated[
        Literal["float32", "bfloat16"], Parameter(help="Numbers of the model's forward pass.")
    ] = "float32"


@contextmanager
def chosen_coder(choice: CoderChoice) -> Iterator["PredictiveCoder"]:
    """The coder of a choice; a model quantised for it is gone afterwards.

    Raises:
        UsageError: neither or both of coder and model are given.
        CoderError: the coder gives code lengths only.
    """
    if (choice.coder is None) == (choice.model is None):
        raise UsageError("give --coder NAME or --model MODEL, one of them: it says what predicts the text.")
    with ExitStack() as stack:
        yield _model(choice, stack) if choice.coder is None else _named(choice)


def _named(choice: CoderChoice) -> "PredictiveCoder":
    from kbit.coders import baseline
    from kbit.coders.predictor import PredictiveCoder
    from kbit.corpus import read_documents

    for option, value in (("--format", choice.weight_format), ("--context", choice.context),
                          ("--stride", choice.stride), ("--prefix", choice.prefix)):  # fmt: skip
        if value is not None:
            raise UsageError(f"{option} is for --model; with --coder leave it out.")
    documents = list(read_documents(choice.baseline_text)) if choice.baseline_text else None
    coder = baseline(choice.coder or "", documents)
    if not isinstance(coder, PredictiveCoder):
        raise CoderError(
            f"{coder.name} gives code lengths, but does not say what may follow, so nothing can be coded "
            "with it here. Take another coder, or the compressor's own program."
        )
    return coder


def _model(choice: CoderChoice, stack: ExitStack) -> "PredictiveCoder":
    import torch

    from kbit.coders import LanguageModelCoder
    from kbit.models import load, load_tokenizer

    if choice.baseline_text is not None:
        raise UsageError("--baseline-text is for --coder; a model brings what it knows. Leave it out.")
    # Sums of floats depend on how they are shared among threads: the reader may have another number of them.
    threads = torch.get_num_threads()
    stack.callback(torch.set_num_threads, threads)
    torch.set_num_threads(1)
    folder = choice.model or ""
    if choice.weight_format is not None:
        from kbit.quantize import quantize_model

        out = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="kbit-compress-"))) / "model"
        quantize_model(folder, out, format=choice.weight_format)
        folder = str(out)
    return LanguageModelCoder(
        load(folder, dtype=getattr(torch, choice.dtype)),
        load_tokenizer(folder),
        name=Path(choice.model or "").name,
        context=choice.context,
        stride=choice.stride,
        prefix=choice.prefix,
    )


@contextmanager
def progress_bar(what: str) -> Iterator[Progress | None]:
    """A bar on stderr if that is a terminal."""
    if not sys.stderr.isatty():
        yield None
        return
    from rich.console import Console
    from rich.progress import Progress as Bar

    with Bar(console=Console(stderr=True), transient=True) as bar:
        row = bar.add_task(what)
        yield lambda done, of: bar.update(row, completed=done, total=of)
