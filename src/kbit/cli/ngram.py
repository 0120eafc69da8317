"""`kbit ngram`: fit an n-gram once, and keep it."""

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from kbit.cli.output import JsonFlag, emit
from kbit.errors import UsageError

if TYPE_CHECKING:
    from rich.console import Console


def ngram(
    paths: Annotated[list[str], Parameter(help="What to fit it to: files, folders, -, datasets:NAME:SPLIT.")],
    /,
    *,
    out: Annotated[Path | None, Parameter(help="The file to write; a coder by the name saved:FILE.")] = None,
    arpa: Annotated[Path | None, Parameter(help="Also (or only) write it in ARPA format.")] = None,
    order: Annotated[int, Parameter(help="Symbols of the longest gram, 1 to 8.")] = 6,
    tokenizer: Annotated[
        str | None, Parameter(help="Over the tokens of this model instead of bytes.")
    ] = None,
    json: JsonFlag = False,
) -> int:
    """Fit an n-gram with Kneser-Ney smoothing to a text, save it, export it."""
    from kbit.coders import NgramCoder
    from kbit.coders.arpa import write_arpa
    from kbit.coders.saved import save_ngram
    from kbit.coders.token_ngram import TokenNgramCoder
    from kbit.corpus import read_documents

    if out is None and arpa is None:
        raise UsageError("give --out FILE, --arpa FILE or both: nothing would be kept.")
    start = time.perf_counter()
    documents = read_documents(paths)
    coder: NgramCoder | TokenNgramCoder
    if tokenizer is None:
        coder = NgramCoder.fit(documents, order=order)
    else:
        from kbit.models import load_tokenizer

        coder = TokenNgramCoder.fit(documents, load_tokenizer(tokenizer), order=order)
    data: dict[str, Any] = {
        "coder": coder.name,
        "settings": coder.settings,
        "discounts": coder.model.discounts,
        "fit_s": time.perf_counter() - start,
        "out": out,
        "arpa": arpa,
    }
    if out is not None:
        save_ngram(out, coder)
        data["size_bytes"] = out.stat().st_size
    if arpa is not None:
        write_arpa(arpa, coder.model)
    return emit(data, json=json, text=lambda console: _draw(console, data))


def _draw(console: "Console", data: dict[str, Any]) -> None:
    for place in (data["out"], data["arpa"]):
        if place is not None:
            console.print(
                f"{data['coder']}, fitted in {data['fit_s']:.1f} s: {place}", markup=False, soft_wrap=True
            )
