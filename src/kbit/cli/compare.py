"""`kbit compare`: generated text against human text."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from cyclopts import Parameter

from kbit.cli.loading import load_both
from kbit.cli.output import JsonFlag, emit, talk
from kbit.errors import UsageError

if TYPE_CHECKING:
    from rich.console import Console

    from kbit.coders import Coder
    from kbit.corpus import Document
    from kbit.information.generated.compare import Comparison
    from kbit.information.generated.figure import Figure

Paths = Annotated[list[Path], Parameter(consume_multiple=True)]


def compare(
    generated: Annotated[Path, Parameter(help="What `kbit generate --out` wrote, or any documents.")],
    /,
    *,
    human: Annotated[Path, Parameter(help="Human text: documents, or what --human-out wrote.")],
    scorer: Annotated[
        str | None,
        Parameter(help="A model, or a coder of `kbit ls coders`, that gives the bits of both texts."),
    ] = None,
    train: Annotated[
        Paths | None, Parameter(help="The training text: novelty is against it, references are made of it.")
    ] = None,
    generator: Annotated[
        str | None, Parameter(help="The model that generated, as it is, for its bits of the human text.")
    ] = None,
    estimator: Annotated[str | None, Parameter(help="Of entropy rates, as in `kbit entropy --rate`.")] = None,
    window: Annotated[int, Parameter(help="Bytes of a fragment.")] = 512,
    self_bleu_texts: Annotated[int, Parameter(help="Texts that self-BLEU is of.")] = 50,
    mauve: Annotated[
        bool, Parameter(negative=(), help="MAUVE too, on features of the scorer; needs the extra 'mauve'.")
    ] = False,
    context: Annotated[int | None, Parameter(help="Tokens the scorer reads at once.")] = None,
    stride: Annotated[int | None, Parameter(help="Tokens from window to window [half the context].")] = None,
    dtype: Annotated[
        Literal["float32", "bfloat16"], Parameter(help="Numbers of forward passes.")
    ] = "float32",
    seed: Annotated[int, Parameter(help="Of resampling and of draws.")] = 0,
    resamples: Annotated[int, Parameter(help="How many for an interval.")] = 2000,
    json: JsonFlag = False,
) -> int:
    """How far generated text stands from human text, in bits and in words, with intervals."""
    from kbit.corpus import read_documents
    from kbit.information.entropy_rate import FEWEST_SYMBOLS, find_estimator
    from kbit.information.generated.compare import compare as compare_texts
    from kbit.information.generated.continuation import read_continuations
    from kbit.information.generated.figure import Options

    if seed < 0 or resamples < 1 or self_bleu_texts < 2 or window < FEWEST_SYMBOLS:
        raise UsageError(
            f"--seed is 0 or more, --resamples 1, --self-bleu-texts 2, --window {FEWEST_SYMBOLS} or more; "
            f"given {seed}, {resamples}, {self_bleu_texts}, {window}."
        )
    if estimator is not None:
        find_estimator(estimator)
    options = Options(
        estimator=estimator, window=window, self_bleu_texts=self_bleu_texts, seed=seed, resamples=resamples
    )
    ours, theirs = read_continuations(generated), read_continuations(human)
    training = None if train is None else list(read_documents(train))
    settings: dict[str, Any] = {"context": context, "stride": stride, "dtype": dtype}
    judge = None if scorer is None else _coder(scorer, training, **settings)
    if mauve and (judge is None or not hasattr(judge, "model") or not hasattr(judge, "tokenizer")):
        raise UsageError("--mauve needs a language model as --scorer: its hidden states are the features.")
    maker = None if generator is None else _coder(generator, training, **settings)
    found = compare_texts(ours, theirs, scorer=judge, train=training, generator=maker, options=options)
    data = _data(found) | {
        "generated": generated,
        "human": human,
        "texts": {"generated": len(ours), "human": len(theirs)},
        "bytes": {"generated": sum(c.bytes for c in ours), "human": sum(c.bytes for c in theirs)},
    }
    if mauve:
        from kbit.information.generated.mauve import compare_features

        data["mauve"] = compare_features(judge, [c.text for c in ours], [c.text for c in theirs])
    warnings = list(found.warnings)
    if scorer is not None and scorer == (ours[0].settings or {}).get("model"):
        warnings.append("the scorer is the model that generated: it finds its own text likely. Take another.")
    data["warnings"] = warnings
    for warning in warnings:
        talk(f"warning: {warning}")
    return emit(data, json=json, text=lambda console: _draw(console, data))


def _coder(
    name: str, training: "list[Document] | None", *, context: int | None, stride: int | None, dtype: str
) -> "Coder":
    """A coder by name, fitted to the training text if it needs one; anything else is a model."""
    from kbit.coders import baseline
    from kbit.coders.of_model import coder_of
    from kbit.coders.registry import find_coder

    try:
        find_coder(name)
    except UsageError:
        loaded, tokenizer = load_both(name, dtype)
        return coder_of(loaded, tokenizer, name=Path(name).name or name, context=context, stride=stride)
    return baseline(name, training)


def _data(found: "Comparison") -> dict[str, Any]:
    return {
        "figures": {name: _figure(figure) for name, figure in found.figures.items()},
        "settings": found.settings,
    }


def _figure(figure: "Figure") -> dict[str, Any]:
    sides: dict[str, Any] = {}
    for name in ("generated", "human", "difference"):
        estimate = getattr(figure, name)
        sides[name] = None if estimate is None else {"value": estimate.value, "ci95": estimate.ci95}
    return {
        "unit": figure.unit,
        **sides,
        "by_seed": dict(figure.by_seed),
        "spread_of_seeds": figure.spread_of_seeds,
        "reason": figure.reason,
    }


# figure -> what a table calls it
TITLES = {
    "cross_entropy": "cross-entropy, scorer",
    "decoding_entropy": "H(q) as drawn",
    "implausibility": "implausibility",
    "model_entropy": "bits, generator",
    "calibration": "H(q) | coverage",
    "entropy_rate": "entropy of fragments",
    "entropy_reduction_random": "  less than random",
    "entropy_reduction_shuffled": "  less than shuffled",
    "entropy_reduction_training": "  less than training",
    "whole_entropy_rate": "entropy of the whole",
    "whole_entropy_reduction_random": "  less than random",
    "whole_entropy_reduction_shuffled": "  less than shuffled",
    "whole_entropy_reduction_training": "  less than training",
    "rep_2": "rep-2, %",
    "rep_3": "rep-3, %",
    "rep_4": "rep-4, %",
    "diversity": "diversity",
    "distinct_1": "distinct-1",
    "distinct_2": "distinct-2",
    "distinct_3": "distinct-3",
    "zipf": "Zipf exponent",
    "self_bleu": "self-BLEU",
    "novelty_4": "new 4-grams, %",
    "novelty_8": "new 8-grams, %",
}


def _draw(console: "Console", data: dict[str, Any]) -> None:
    from rich.table import Table

    console.print(
        f"{data['texts']['generated']} generated texts ({data['bytes']['generated']:,} bytes), "
        f"{data['texts']['human']} human ({data['bytes']['human']:,} bytes)"
        + (", paired by prompt" if data["settings"]["paired_by_prompt"] else "")
    )
    table = Table("", "generated", "human", "difference, 95%")
    table.columns[0].no_wrap = True
    missing = {}
    for name, title in TITLES.items():
        row = data["figures"].get(name)
        if row is None:
            continue
        if row["generated"] is None and row["human"] is None:
            missing[name.replace("_", " ")] = row["reason"]
            continue
        table.add_row(title, _number(row["generated"]), _number(row["human"]), _apart(row))
    console.print(table)
    console.print("Bits are per byte. The target of every figure is that of human text: a difference of 0.")
    if data.get("mauve"):
        found = data["mauve"]
        console.print(f"MAUVE {found['value']:.4f}, human against human {found['ceiling']:.4f}")
        missing["MAUVE"] = found["warning"]
    for title, reason in missing.items():
        if reason:
            console.print(f"{title}: {reason}", style="dim")


def _number(estimate: dict[str, Any] | None) -> str:
    return "" if estimate is None else f"{estimate['value']:.4f}"


def _apart(row: dict[str, Any]) -> str:
    """The difference and its interval; of a figure without a human side, its own interval."""
    shown = row["difference"] or (row["generated"] if row["human"] is None else None)
    if shown is None:
        return "-"
    value = "" if row["difference"] is None else f"{shown['value']:+.4f} "
    interval = "" if shown["ci95"] is None else f"({shown['ci95'][0]:.4f} to {shown['ci95'][1]:.4f})"
    return value + interval
