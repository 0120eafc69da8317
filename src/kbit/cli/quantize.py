"""`kbit quantize`: write a model at k bits a weight."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from kbit.cli.output import JsonFlag, emit, talk

if TYPE_CHECKING:
    from rich.console import Console

# So many layers left in 16 bits are named on a terminal; --json names all.
SHOWN = 12


def quantize(
    model: Annotated[str, Parameter(help="A 16-bit model: a folder or a hub id.")],
    out: Annotated[Path, Parameter(help="The folder to write; it must not exist.")],
    /,
    *,
    format: Annotated[  # noqa: A002 (the word of the domain)
        str, Parameter(help="Of linear layers, such as nf4:b64; bf16, fp16 or fp32 for a plain copy.")
    ],
    method: Annotated[str, Parameter(help="How codes are chosen: see kbit ls methods.")] = "nearest",
    embeddings: Annotated[
        str | None, Parameter(help="Format of the token embedding; 16 bits if not given.")
    ] = None,
    head: Annotated[str | None, Parameter(help="Format of the output layer; 16 bits if not given.")] = None,
    keep: Annotated[
        list[str] | None, Parameter(help="Layers to leave in 16 bits, by name or pattern (*.down_proj).")
    ] = None,
    overwrite: Annotated[bool, Parameter(negative=(), help="Replace a model folder at OUT.")] = False,
    json: JsonFlag = False,
) -> int:
    """Write a model at k bits a weight."""
    from kbit.models.content import tokenizer_files
    from kbit.quantize import quantize_model

    with _progress(quiet=json) as progress:
        report = quantize_model(
            model,
            out,
            format=format,
            method=method,
            embeddings=embeddings,
            head=head,
            keep=keep or (),
            overwrite=overwrite,
            progress=progress,
        )
    bits = report.stored_bits
    data = {
        "out": report.out,
        "format": report.format,
        "embeddings": report.embeddings,
        "head": report.head,
        "method": report.method,
        "stored_bits": bits.whole,
        "stored_bits_body": bits.body,
        "stored_bits_embeddings": bits.embeddings,
        "weights": bits.weights,
        "weights_body": bits.body_weights,
        "body_bits_per_weight": bits.body_bits_per_weight,
        "whole_bits_per_weight": bits.whole_bits_per_weight,
        "size_bytes": report.size_bytes,
        "packed_layers": report.packed_layers,
        "kept_in_16_bits": report.kept,
        "untied": report.untied,
    }
    if not any(tokenizer_files(report.out)):
        talk(
            f"{report.out} has no tokeniser, because {model} has none: nothing can be measured or generated."
        )
    return emit(data, json=json, text=lambda console: _draw(console, data))


def _progress(*, quiet: bool) -> Any:
    """A bar on stderr where that is a terminal, else nothing."""
    import sys
    from contextlib import contextmanager

    @contextmanager
    def shown() -> Any:
        if quiet or not sys.stderr.isatty():
            yield None
            return
        from rich.console import Console
        from rich.progress import Progress

        with Progress(console=Console(stderr=True), transient=True) as bar:
            task = bar.add_task("quantising", total=None)
            yield lambda done, total, name: bar.update(task, completed=done, total=total, description=name)

    return shown()


def _draw(console: "Console", data: dict[str, Any]) -> None:
    def say(line: str, style: str = "") -> None:
        console.print(line, style=style, highlight=False, markup=False, soft_wrap=True)

    say(str(data["out"]), style="bold")
    say(f"{data['packed_layers']} layers as {data['format']}, {data['size_bytes']:,} bytes on disk")
    say(
        f"bits a weight: {data['body_bits_per_weight']:.4g} in the body, "
        f"{data['whole_bits_per_weight']:.4g} in the whole"
    )
    if data["untied"]:
        say("the output layer is not tied: the model's files hold it apart from the embedding")
    kept = data["kept_in_16_bits"]
    for row in kept[:SHOWN]:
        say(f"  not packed: {row.name} ({row.reason})")
    if len(kept) > SHOWN:
        say(f"  not packed: {len(kept) - SHOWN} more; --json names them all")
