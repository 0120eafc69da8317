"""`kbit quantize`: write a model at k bits a weight."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from kbit.cli.output import JsonFlag, emit, talk
from kbit.errors import UsageError

if TYPE_CHECKING:
    from rich.console import Console

    from kbit.quantize import Calibration, QuantizeReport

# So many layers left in 16 bits are named on a terminal; --json names all.
SHOWN = 12


def quantize(
    model: Annotated[str, Parameter(help="A 16-bit model: a folder or a hub id.")],
    out: Annotated[Path, Parameter(help="The folder to write; it must not exist.")],
    /,
    *,
    format: Annotated[  # noqa: A002 (the word of the domain)
        str | None, Parameter(help="Of linear layers, such as nf4:b64; bf16, fp16 or fp32 for a plain copy.")
    ] = None,
    target_bits: Annotated[
        float | None,
        Parameter(help="In place of --format: mix formats to so many stored bits a body weight."),
    ] = None,
    formats: Annotated[
        list[str] | None,
        Parameter(consume_multiple=True, help="What a mix may use [tcq2 to tcq7, int8]."),
    ] = None,
    plan: Annotated[
        Path | None, Parameter(help="In place of --format: a plan.json, or a folder that has one.")
    ] = None,
    method: Annotated[
        str | None, Parameter(help="How codes are chosen: see kbit ls methods [nearest; descent with text].")
    ] = None,
    embeddings: Annotated[
        str | None, Parameter(help="Format of the token embedding; 16 bits if not given.")
    ] = None,
    head: Annotated[str | None, Parameter(help="Format of the output layer; 16 bits if not given.")] = None,
    keep: Annotated[
        list[str] | None, Parameter(help="Layers to leave in 16 bits, by name or pattern (*.down_proj).")
    ] = None,
    calibrate: Annotated[
        list[Path] | None,
        Parameter(consume_multiple=True, help="Text for a calibrated method: .jsonl, plain, or folders."),
    ] = None,
    calibrate_own_text: Annotated[
        bool, Parameter(negative=(), help="Calibrate on text that the model writes itself.")
    ] = False,
    calibration_tokens: Annotated[int | None, Parameter(help="Most tokens of it [131072].")] = None,
    calibration_context: Annotated[
        int | None, Parameter(help="Tokens read at once [the model's, up to 2048].")
    ] = None,
    seed: Annotated[int, Parameter(help="Of the choice of calibration windows, or of the writing.")] = 0,
    overwrite: Annotated[bool, Parameter(negative=(), help="Replace a model folder at OUT.")] = False,
    json: JsonFlag = False,
) -> int:
    """Write a model at k bits a weight."""
    from kbit.models.content import tokenizer_files
    from kbit.quantize import quantize_model
    from kbit.quantize.mixed.plan import DEFAULT_FORMATS, plan_mixed
    from kbit.quantize.mixed.plan_file import read_plan

    _check_one_of(one_format=format, target_bits=target_bits, plan=plan, formats=formats)
    calibration = _calibration(
        model,
        calibrate,
        own=calibrate_own_text,
        tokens=calibration_tokens,
        context=calibration_context,
        seed=seed,
    )
    chosen = method or ("nearest" if calibration is None else "descent")
    with _progress(quiet=json) as progress:
        mixed = None
        if plan is not None:
            mixed = read_plan(plan)
        elif target_bits is not None:
            mixed = plan_mixed(
                model,
                target_bits=target_bits,
                formats=formats or DEFAULT_FORMATS,
                method=chosen,
                calibration=calibration,
                keep=keep or (),
                progress=progress,
            )
        report = quantize_model(
            model,
            out,
            format=format or next(iter(mixed.layers.values()) if mixed else iter(())),
            method=chosen,
            calibration=calibration,
            layers=mixed,
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
        "calibration": _calibrated(report, calibration),
        "target_bits": target_bits,
        "layers": None if mixed is None else {name: str(fmt) for name, fmt in mixed.layers.items()},
        "expected_damage": None if mixed is None else mixed.expected_damage,
    }
    if not any(tokenizer_files(report.out)):
        talk(
            f"{report.out} has no tokeniser, because {model} has none: nothing can be measured or generated."
        )
    return emit(data, json=json, text=lambda console: _draw(console, data))


def _check_one_of(
    *, one_format: str | None, target_bits: float | None, plan: Path | None, formats: list[str] | None
) -> None:
    given = [
        name
        for name, value in (("--format", one_format), ("--target-bits", target_bits), ("--plan", plan))
        if value is not None
    ]
    if len(given) != 1:
        raise UsageError(
            f"{' and '.join(given) or 'nothing'} given: give one of --format, --target-bits and --plan."
        )
    if formats and target_bits is None:
        raise UsageError("--formats says what --target-bits may mix: give both, or --format alone.")


def _calibration(
    model: str, text: list[Path] | None, *, own: bool, tokens: int | None, context: int | None, seed: int
) -> "Calibration | None":
    if not text and not own:
        if tokens is not None or context is not None:
            raise UsageError(
                "--calibration-tokens and --calibration-context say how calibration text is read, and there "
                "is none: give --calibrate TEXT or --calibrate-own-text."
            )
        return None
    if text and own:
        raise UsageError("--calibrate and --calibrate-own-text exclude each other: give one.")
    if seed < 0:
        raise UsageError(f"--seed is {seed}; give 0 or more.")
    from kbit.corpus import read_documents
    from kbit.quantize import calibration_for

    more = {} if tokens is None else {"tokens": tokens}
    return calibration_for(
        model, list(read_documents(text)) if text else None, context=context, seed=seed, **more
    )


def _calibrated(report: "QuantizeReport", calibration: "Calibration | None") -> dict[str, Any] | None:
    """What is told of a calibration."""
    if calibration is None:
        return None
    nearest = sum(note.nearest_error for note in report.notes.values())
    return {
        "text": calibration.kind,
        "hash": calibration.hash,
        "documents": len(calibration.documents),
        "tokens": calibration.tokens,
        "context": calibration.context,
        "layers": len(report.notes),
        "error_over_nearest": sum(n.error for n in report.notes.values()) / nearest if nearest else None,
        "damping_raised": sorted(name for name, note in report.notes.items() if note.damping_raised),
        "dead_inputs": {name: n.dead_inputs for name, n in report.notes.items() if n.dead_inputs},
    }


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
    if data["calibration"] is not None:
        told = data["calibration"]
        share = told["error_over_nearest"]
        say(
            f"calibrated {told['layers']} layers on {told['tokens']:,} tokens"
            + ("" if share is None else f": {share:.3g} of the output error of nearest entries")
        )
        if told["damping_raised"]:
            say(f"  more damping than usual: {', '.join(told['damping_raised'][:SHOWN])}")
        if told["dead_inputs"]:
            say(f"  inputs that were always zero: {sum(told['dead_inputs'].values())}")
    kept = data["kept_in_16_bits"]
    for row in kept[:SHOWN]:
        say(f"  not packed: {row.name} ({row.reason})")
    if len(kept) > SHOWN:
        say(f"  not packed: {len(kept) - SHOWN} more; --json names them all")
