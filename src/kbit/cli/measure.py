"""`kbit measure`: bits a model needs for a text, and its gain over baselines."""

from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from cyclopts import Parameter

from kbit.cli.loading import load_both, quantised
from kbit.cli.measure_tokens import check_outputs, draw_breakdown, tokens
from kbit.cli.output import JsonFlag, emit, talk
from kbit.errors import CoderError, UsageError

if TYPE_CHECKING:
    from rich.console import Console

    from kbit.coders import LanguageModelCoder
    from kbit.coders.latent import LatentCoder
    from kbit.corpus import Document
    from kbit.information import Estimate
    from kbit.information.measured import MeasuredText, Memorisation

# A coder that learns each document from nothing, so that it has seen neither text.
UNSEEING = "ctw-6"
Paths = Annotated[list[Path], Parameter(consume_multiple=True)]


def measure(
    model: str,
    *,
    text: Annotated[Paths, Parameter(help="What to measure: .jsonl, plain text, or folders of either.")],
    weight_format: Annotated[
        str | None, Parameter(name="--format", help="Quantise to this first, such as nf4:b64.")
    ] = None,
    baseline_text: Annotated[
        Paths | None, Parameter(help="What the n-gram baseline is fitted to; no text of --text in it.")
    ] = None,
    against: Annotated[
        str | None, Parameter(help="Compare token by token with this model; with --format, MODEL itself.")
    ] = None,
    baselines: Annotated[
        list[str] | None, Parameter(consume_multiple=True, help="Which, as `kbit ls coders` lists them.")
    ] = None,
    trained_on: Annotated[
        Paths | None, Parameter(help="Text the model was trained on: how much of it does it know by heart?")
    ] = None,
    allow_calibration_text: Annotated[
        bool, Parameter(negative=(), help="Go on with documents the model was calibrated on, and name them.")
    ] = False,
    by: Annotated[
        bool, Parameter(negative=(), help="Also by document, script, place and frequency of the token.")
    ] = False,
    by_token: Annotated[
        Path | None, Parameter(help="Write each token's bits, one document a line, as .jsonl.")
    ] = None,
    page: Annotated[
        Path | None, Parameter(help="Write an .html page with the text coloured by what each token costs.")
    ] = None,
    context: Annotated[
        int | None, Parameter(help="Most tokens read at once [the model's, up to 2048].")
    ] = None,
    stride: Annotated[int | None, Parameter(help="Tokens from window to window [half the context].")] = None,
    batch_size: Annotated[int | None, Parameter(help="Windows run together [1 on a CPU].")] = None,
    prefix: Annotated[
        str | None, Parameter(help="Token before each document [begin-of-text, else end-of-text].")
    ] = None,
    repeat_prefix: Annotated[bool, Parameter(help="Begin further windows with the prefix too.")] = True,
    dtype: Annotated[
        Literal["float32", "bfloat16"], Parameter(help="Numbers of the forward pass.")
    ] = "float32",
    numerics: Annotated[
        Literal["a16", "a8"],
        Parameter(help="Activations of packed layers: as they are, or rounded to 8 bits."),
    ] = "a16",
    samples: Annotated[
        int | None, Parameter(help="Draws of the vector, for a model with a latent space [16].")
    ] = None,
    seed: Annotated[int, Parameter(help="Of the resampling that gives intervals.")] = 0,
    resamples: Annotated[int, Parameter(help="How many for an interval.")] = 2000,
    json: JsonFlag = False,
) -> int:
    """Bits a model needs for a text, and its gain over baselines."""
    from kbit.coders import HEADLINE, LanguageModelCoder, baseline, listing
    from kbit.coders.of_model import coder_of
    from kbit.coders.registry import find_coder
    from kbit.corpus import read_documents
    from kbit.information.measured import measure_text, memorisation

    check_outputs(by_token, page, [*text, *(baseline_text or ())])
    documents = list(read_documents(text))
    baseline_documents = list(read_documents(baseline_text)) if baseline_text else None
    names = baselines or [
        str(row["name"])
        for row in listing()
        if row["in_ladder"] and (baseline_documents or not row["needs_baseline_text"])
    ]
    for name in names:
        if find_coder(name).needs_baseline_text and baseline_documents is None:
            baseline(name)  # says what is missing, before a model is loaded
    if seed < 0:
        raise UsageError(f"--seed is {seed}; give 0 or more.")
    if resamples < 1:
        raise UsageError(f"--resamples is {resamples}; give at least 1 (2000 is usual).")
    if not any(document.text for document in documents):
        raise UsageError("--text holds no text: every document in it is empty. Give one that is not.")

    with ExitStack() as stack:
        folder = model if weight_format is None else quantised(stack, model, weight_format)
        seen_in_calibration = _seen_in_calibration(folder, documents, allowed=allow_calibration_text)
        loaded, tokenizer = load_both(folder, dtype, numerics)
        coder = coder_of(
            loaded,
            tokenizer,
            name=_name(model, weight_format),
            context=context,
            stride=stride,
            batch_size=batch_size,
            prefix=prefix,
            repeat_prefix=repeat_prefix,
            samples=samples,
        )
        by_tokens = by or by_token is not None or page is not None
        if not isinstance(coder, LanguageModelCoder) and (by_tokens or against is not None):
            raise UsageError(
                f"{coder.name} codes a text through a latent space, not token by token: --by, --by-token, "
                "--page and --against do not fit it. Leave them out."
            )
        coders = [baseline(name, baseline_documents) for name in names]
        measured = measure_text(
            coder,
            coders,
            documents,
            baseline_documents=baseline_documents or (),
            seed=seed,
            resamples=resamples,
        )
        reference = against or (model if weight_format is not None else None)
        divergence = None
        if reference is not None and isinstance(coder, LanguageModelCoder):
            divergence = _divergence(coder, reference, dtype, documents, seed=seed, resamples=resamples)
        parts = None
        if by_tokens and isinstance(coder, LanguageModelCoder):
            parts = tokens(
                coder,
                documents,
                against=reference,
                dtype=dtype,
                baseline=next((c for c in coders if c.name == HEADLINE), None),
                baseline_documents=baseline_documents,
                by_token=by_token,
                page=page,
                title=_name(model, weight_format),
                seed=seed,
                resamples=resamples,
            )
        by_heart = None
        if trained_on is not None:
            seen = list(read_documents(trained_on))
            by_heart = memorisation(
                coder, baseline(UNSEEING), seen, documents, seed=seed, resamples=resamples
            )
        data = _data(coder, measured, folder, divergence) | {
            "by": parts,
            "memorisation": None if by_heart is None else _memorisation(by_heart),
            "model": model,
            "format": weight_format,
            "calibrated_on": seen_in_calibration,
            "seed": seed,
            "headline": _headline(HEADLINE, measured, baseline_documents is not None),
        }
    for warning in measured.warnings:
        talk(f"warning: {warning}")
    if seen_in_calibration:
        talk(f"warning: the model was calibrated on {len(seen_in_calibration)} of these documents")
    return emit(data, json=json, text=lambda console: _draw(console, data))


def _seen_in_calibration(folder: str, documents: "list[Document]", *, allowed: bool) -> list[str]:
    """Documents that the model was calibrated on; refused unless they are allowed."""
    from kbit.models.locate import locate
    from kbit.quantize.calibration.seen import calibration_documents, check_unseen

    hashes = calibration_documents(locate(folder))
    return check_unseen(hashes, documents, allowed=allowed, option="--allow-calibration-text")


def _name(model: str, weight_format: str | None) -> str:
    name = Path(model).name or model
    return name if weight_format is None else f"{name} {weight_format}"


def _divergence(
    coder: "LanguageModelCoder",
    reference: str,
    dtype: str,
    documents: list["Document"],
    *,
    seed: int,
    resamples: int,
) -> dict[str, Any]:
    from kbit.coders.tokens import same_tokeniser
    from kbit.information import divergence

    other, its_tokenizer = load_both(reference, dtype)
    if not same_tokeniser(coder.tokenizer, its_tokenizer):
        raise CoderError(
            f"{coder.name} and {reference} have different tokenisers, so they cannot be compared token by "
            "token. Measure each by itself: bits per byte do not depend on the tokeniser."
        )
    found = divergence(
        coder.model,
        other,
        coder.tokenizer,
        documents,
        context=coder.plan.context,
        stride=coder.plan.stride,
        batch_size=coder.batching.size,
        prefix=coder.prefix.id,
        repeat_prefix=coder.batching.repeat_prefix,
    )
    kl = found.kl_bits_per_byte(seed=seed, resamples=resamples)
    agreement = found.agreement(seed=seed, resamples=resamples)
    return {
        "against": reference,
        "kl_bits": found.kl_bits,
        "kl_bits_per_byte": kl.value,
        "kl_ci95": kl.ci95,
        "top1_agreement": agreement.value,
        "top1_agreement_ci95": agreement.ci95,
        "reference_bits_per_byte": sum(d.reference_bits for d in found.documents) / found.bytes,
        "algorithm_version": found.version,
    }


def _data(
    coder: "LanguageModelCoder | LatentCoder",
    measured: "MeasuredText",
    folder: str,
    divergence: dict[str, Any] | None,
) -> dict[str, Any]:
    from kbit.information import break_even_bytes
    from kbit.models import open_model, stored_bits

    opened = open_model(folder)
    stored = stored_bits(opened.path)
    summed, gained = measured.total, measured.headline
    pays = None if gained is None else break_even_bytes(stored.whole, gained.value)
    return {
        "bits": summed.bits,
        "bytes": summed.bytes,
        "characters": summed.characters,
        "tokens": summed.tokens,
        "documents": len(measured.documents),
        **_estimate("bits_per_byte", measured.bits_per_byte),
        "bits_per_character": summed.bits_per_character,
        "bits_per_character_ci95": measured.bits_per_character.ci95,
        "lossless": summed.lossless,
        "bytes_lost": summed.bytes_lost,
        "gains": {
            name: {
                "bits_per_byte": figures.bits_per_byte.value,
                **_estimate("gain", figures.gain),
                "standard_error": figures.gain.standard_error,
            }
            for name, figures in measured.baselines.items()
        },
        "ladder": [
            {"from": step.lower, "to": step.upper, **_estimate("gain", step.gain)} for step in measured.steps
        ],
        "divergence": divergence,
        "stored_bits": stored.whole,
        "stored_bits_body": stored.body,
        "stored_bits_embeddings": stored.embeddings,
        "body_bits_per_weight": stored.body_bits_per_weight,
        "stored_as": opened.foreign_format,
        "break_even_bytes": pays,
        "coder": {**coder.settings, "prefix_token": coder.prefix.token, "algorithm_version": coder.version},
        "numerics": coder.numerics,
        "warnings": measured.warnings,
    }


def _estimate(name: str, estimate: "Estimate") -> dict[str, Any]:
    """Value and interval; the reason takes the interval's place where there is none."""
    data: dict[str, Any] = {name: estimate.value, "ci95": estimate.ci95}
    return data if estimate.reason is None else data | {"ci95_reason": estimate.reason}


def _memorisation(found: "Memorisation") -> dict[str, Any]:
    return {
        "reference": UNSEEING,
        **_estimate("memorised", found.memorised),
        "trained_on_bits_per_byte": found.trained_on.value,
        "held_out_bits_per_byte": found.held_out.value,
        "difference": found.difference.value,
        "difference_ci95": found.difference.ci95,
        "difference_of_reference": found.reference.value,
    }


def _headline(name: str, measured: "MeasuredText", has_text: bool) -> dict[str, Any]:
    gained = measured.headline
    if gained is not None:
        return {"baseline": name, **_estimate("gain", gained)}
    reason = "it is not among --baselines" if has_text else "it is fitted to a text: give --baseline-text"
    return {"baseline": name, "gain": None, "ci95": None, "reason": reason}


def _draw(console: "Console", data: dict[str, Any]) -> None:
    from rich.table import Table

    title = data["model"] if data["format"] is None else f"{data['model']} at {data['format']}"
    console.print(
        f"[bold]{title}[/]: {data['bits']:.0f} bits for {data['bytes']} bytes, "
        f"{data['characters']} characters, {data['tokens']} tokens in {data['documents']} documents"
    )
    table = Table("", "bits/byte", "gain of the model", "95%")
    for name, figures in data["gains"].items():
        row = (f"{figures['bits_per_byte']:.4f}", f"{figures['gain']:+.4f}", _interval(figures["ci95"]))
        table.add_row(name, *row)
    table.add_row("[bold]model[/]", f"[bold]{data['bits_per_byte']:.4f}[/]", "", _interval(data["ci95"]))
    console.print(table)
    if len(data["ladder"]) > 1:
        steps = Table("from", "to", "step, bits/byte", "95%")
        for step in data["ladder"]:
            steps.add_row(step["from"], step["to"], f"{step['gain']:+.4f}", _interval(step["ci95"]))
        console.print(steps)
    if data["memorisation"] is not None:
        found = data["memorisation"]
        console.print(
            f"On text it was trained on {found['trained_on_bits_per_byte']:.4f} bits/byte; by heart, "
            f"beyond what {found['reference']} finds easier in it, {found['memorised']:+.4f} "
            f"({_interval(found['ci95'])})"
        )
    if data["by"] is not None:
        draw_breakdown(console, data["by"])
    if data["headline"]["gain"] is None:
        missing = data["headline"]
        console.print(f"No gain over the headline baseline {missing['baseline']}: {missing['reason']}.")
    if data["bits_per_character"] is not None and data["characters"] != data["bytes"]:
        console.print(f"{data['bits_per_character']:.4f} bits per character")
    if data["divergence"] is not None:
        found = data["divergence"]
        console.print(
            f"KL from {found['against']}: {found['kl_bits_per_byte']:.5f} bits/byte "
            f"({_interval(found['kl_ci95'])}), same likeliest token {found['top1_agreement']:.2%}"
        )
    pays = data["break_even_bytes"]
    paid = "" if pays is None else f"; the gain pays for them after {pays:,.0f} bytes of text"
    console.print(f"{data['stored_bits']:,} stored bits{paid}")


def _interval(ci95: tuple[float, float] | None) -> str:
    return "-" if ci95 is None else f"{ci95[0]:.4f} to {ci95[1]:.4f}"
