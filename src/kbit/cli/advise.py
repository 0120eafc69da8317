"""`kbit advise`: what to run in a given memory, or what to train with a given compute budget."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from cyclopts import Parameter

from kbit.cli.output import JsonFlag, emit
from kbit.cli.rows import StoreUrl, StudyName, TextName, saved_fit, table_from
from kbit.errors import LawError, UsageError

if TYPE_CHECKING:
    from rich.console import Console

    from kbit.advise import Advice, Candidate, Choice

FORMATS = ("bf16", "int8:b64", "nf4:b64", "nf3:b64")
TOP = 12
# To run and to train are two questions; an option of the other one is refused, not ignored.
OF_RUNNING = (
    *("store", "context", "batch", "kv_bits", "engine", "model", "format", "law", "study", "text", "top"),
    *("speed", "bandwidth_gb_s", "least_tokens_per_s"),
)
OF_TRAINING = ("inference_tokens", "constants", "bits", "flops_per_s", "share", "picture")


def advise(
    *,
    memory_gib: Annotated[float | None, Parameter(help="Memory there is, in GiB (2^30 bytes).")] = None,
    context: Annotated[int | None, Parameter(help="Tokens kept, prompt and answer together.")] = None,
    batch: Annotated[int | None, Parameter(help="Sequences at once; 1 by default.")] = None,
    kv_bits: Annotated[
        float | None, Parameter(help="Bits for each number of the key-value cache; 16 by default.")
    ] = None,
    engine: Annotated[
        Literal["auto", "core", "transformers"] | None,
        Parameter(help="What generates; by default, for each model, what `kbit generate` takes."),
    ] = None,
    store: StoreUrl = None,
    study: StudyName = None,
    text: TextName = None,
    model: Annotated[
        list[str] | None,
        Parameter(
            consume_multiple=True,
            help="Models not measured: a config.json, a folder, or a hub id. No weight is read.",
        ),
    ] = None,
    format: Annotated[  # noqa: A002 (the word of the domain)
        list[str] | None,
        Parameter(consume_multiple=True, help="Formats for them; by default " + " ".join(FORMATS) + "."),
    ] = None,
    law: Annotated[str | None, Parameter(help="The law that predicts their gains from the store's.")] = None,
    fit: Annotated[
        Path | None, Parameter(help="A saved fit (`kbit fit --save`): of gains to run, of losses to train.")
    ] = None,
    speed: Annotated[
        bool, Parameter(negative=(), help="Measure this machine's bandwidth, and say how fast each can be.")
    ] = False,
    bandwidth_gb_s: Annotated[
        float | None, Parameter(help="Bandwidth of reading memory, 10^9 bytes a second, instead.")
    ] = None,
    least_tokens_per_s: Annotated[
        float | None, Parameter(help="Leave out what cannot reach this speed.")
    ] = None,
    top: Annotated[
        int | None, Parameter(help=f"Choices shown in a terminal; {TOP} by default. JSON has all.")
    ] = None,
    flops: Annotated[
        float | None, Parameter(help="To train: the budget in floating-point operations.")
    ] = None,
    hours: Annotated[float | None, Parameter(help="To train: the budget in hours of a machine.")] = None,
    flops_per_s: Annotated[
        float | None, Parameter(help="Operations a second of that machine; by default this one's, measured.")
    ] = None,
    share: Annotated[
        float | None, Parameter(help="Share of them that training reaches; 0.4 by default.")
    ] = None,
    inference_tokens: Annotated[
        float | None, Parameter(help="Tokens the trained model will process in its life, in the budget.")
    ] = None,
    constants: Annotated[
        str | None, Parameter(help="Published constants instead of --fit: besiroglu-2024, hoffmann-2022.")
    ] = None,
    bits: Annotated[
        list[float] | None, Parameter(consume_multiple=True, help="The k to try, where the law knows k.")
    ] = None,
    picture: Annotated[
        Path | None, Parameter(help="Draw cost against performance: a .png or an .svg.")
    ] = None,
    json: JsonFlag = False,
) -> int:
    """Advise on what to run in a memory, or on what to train with a budget."""
    given = {name: value for name, value in locals().items() if value is not None and value is not False}
    if flops is not None or hours is not None:
        _refuse(given, OF_RUNNING, question="--flops and --hours ask what to train")
        from kbit.cli.advise_train import advise_train

        return advise_train(
            flops=flops,
            hours=hours,
            flops_per_s=flops_per_s,
            share=share,
            inference_tokens=inference_tokens,
            memory_gib=memory_gib,
            fit=fit,
            constants=constants,
            bits=bits,
            picture=picture,
            json=json,
        )
    _refuse(given, OF_TRAINING, question="without --flops or --hours the question is what to run")
    if memory_gib is None or context is None:
        missing = " and ".join(
            n for n, v in (("--memory-gib", memory_gib), ("--context", context)) if v is None
        )
        raise UsageError(
            f"to advise what to run, give {missing}; to advise what to train, --flops or --hours."
        )
    if store is None and model is None:
        raise UsageError("say what there is to choose from: --store URL, --model CONFIG, or both.")
    if (law is not None or format is not None) and model is None:
        raise UsageError("--law and --format are for models that were not measured: name them with --model.")
    if store is None and (study is not None or text is not None or law is not None):
        raise UsageError("--study, --text and --law select from measurements: give --store too.")
    if law is not None and fit is not None:
        raise UsageError("--fit is a law already fitted: leave out --law.")
    rows = [] if store is None else table_from(None, store, study=study)
    others, notes = _not_measured(rows, model or (), format or FORMATS, text=text, law=law, fit=fit)
    if bandwidth_gb_s is None and (speed or least_tokens_per_s is not None):
        from kbit.advise.bandwidth import read_bandwidth

        bandwidth_gb_s = read_bandwidth()
        notes.append(f"This machine was measured to read {bandwidth_gb_s:.3g} GB/s.")
    from kbit.advise import advise as give_advice

    advice = give_advice(
        rows,
        memory_gib=memory_gib,
        context=context,
        batch=1 if batch is None else batch,
        kv_bits=16.0 if kv_bits is None else kv_bits,
        engine=engine or "auto",
        text=text,
        others=others,
        bandwidth_gb_per_s=bandwidth_gb_s,
        least_tokens_per_s=least_tokens_per_s,
        notes=notes,
    )
    return emit(
        advice.to_dict(), json=json, text=lambda console: _show(advice, console, TOP if top is None else top)
    )


def _refuse(given: dict[str, Any], names: Sequence[str], *, question: str) -> None:
    extra = [f"--{name.replace('_', '-')}" for name in names if name in given]
    if extra:
        raise UsageError(f"{question}, and {', '.join(extra)} would say nothing there: leave it out.")


def _not_measured(
    rows: list[dict[str, Any]],
    models: Sequence[str],
    formats: Sequence[str],
    *,
    text: str | None,
    law: str | None,
    fit: Path | None,
) -> tuple[list["Candidate"], list[str]]:
    """Candidates of which only the config is known, with predicted gains where there is a law."""
    if not models:
        if fit is not None:
            raise UsageError("--fit predicts gains of models that were not measured: name them with --model.")
        return [], []
    from kbit.advise import candidates
    from kbit.advise.predict import fit_gains, from_configs, predictor, with_gains
    from kbit.quantize.from_config import config_model

    known = [config_model(name) for name in dict.fromkeys(models)]
    names = [m.name for m in known]
    twice = sorted({n for n in names if names.count(n) > 1})
    if twice:
        raise UsageError(f"two of the models are called {twice[0]!r}: rename the folder or file of one.")
    measured = candidates(rows, text=text) if rows else []
    found = from_configs(known, list(dict.fromkeys(formats)), known=measured)
    if fit is not None:
        by = predictor(saved_fit(fit))
    elif measured:
        try:
            by = fit_gains(measured, law=law)
        except LawError as error:
            if law is not None:
                raise
            return found, [f"Nothing is predicted: {error}"]
    else:
        return found, []
    return with_gains(found, by), list(by.notes)


def _show(advice: "Advice", console: "Console", top: int) -> None:
    from rich.table import Table

    from kbit.advise.memory import GIB
    from kbit.advise.reasons import readable

    fast = advice.bandwidth_gb_per_s is not None
    unit, width = ("GiB", GIB) if advice.memory_gib >= 1 else ("MiB", 2**20)
    table = Table(title=f"what fits in {readable(advice.memory_gib * GIB)}, best first; {unit}", box=None)
    table.add_column("model", overflow="fold")
    table.add_column("format", no_wrap=True)
    for name in ("gain", "95%", "memory", "weights", "cache", "working", *(["tokens/s"] * fast)):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("")
    for c in advice.choices[:top]:
        ends = c.ci95 or c.prediction95
        table.add_row(
            c.model,
            c.format,
            "–" if c.gain is None else f"{c.gain:.4f}",
            "–" if ends is None else f"{ends[0]:.4f} to {ends[1]:.4f}",
            *(
                f"{size / width:.2f}"
                for size in (c.memory_gib * GIB, c.weights_bytes, c.kv_bytes, c.working_bytes)
            ),
            *([f"{c.tokens_per_s:,.4g}"] if c.tokens_per_s is not None else ["–"] * fast),
            _remark(c),
        )
    if advice.choices:
        console.print(table)
    if len(advice.choices) > top:
        console.print(f"{len(advice.choices) - top} more fit; --top or --json shows them.", style="dim")
    for line in advice.reasons:
        console.print(line, markup=False, soft_wrap=True)
    for item in advice.left_out:
        console.print(
            f"left out: {item.model} {item.format}: {item.reason}",
            markup=False,
            style="dim",
            soft_wrap=True,
        )
    for line in advice.assumptions:
        console.print(f"- {line}", markup=False, soft_wrap=True)


def _remark(choice: "Choice") -> str:
    words = {"measured": [], "predicted": ["predicted"], "memory": ["not measured"]}[choice.basis]
    if choice.extrapolation is not None and choice.extrapolation > 1:
        words.append(f"{choice.extrapolation:.2g} times beyond")
    if choice.tie_with_best and choice.rank > 1:
        words.append("tie")
    return ", ".join(words)
