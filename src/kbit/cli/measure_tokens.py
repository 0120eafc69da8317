"""What `kbit measure` says of single tokens: the breakdown, the file, the page."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kbit.cli.loading import load_both
from kbit.cli.output import talk
from kbit.errors import CoderError, UsageError

if TYPE_CHECKING:
    from rich.console import Console

    from kbit.coders import Coder, LanguageModelCoder
    from kbit.corpus import Document
    from kbit.information.breakdown import Share


def check_outputs(by_token: Path | None, page: Path | None, inputs: Sequence[Path]) -> None:
    """Refuse outputs that cannot be, before a model is loaded."""
    if page is not None and page.suffix.lower() not in (".html", ".htm"):
        raise UsageError(f"--page {page}: the page is an .html file. Change the ending.")
    given = {path.resolve() for path in inputs}
    for target in (by_token, page):
        if target is not None and (target.resolve() in given or target.is_dir()):
            raise UsageError(f"{target} is a folder, or a text that is read. Choose another file.")


def tokens(
    coder: "LanguageModelCoder",
    documents: "list[Document]",
    *,
    against: str | None,
    dtype: str,
    baseline: "Coder | None",
    baseline_documents: "list[Document] | None",
    by_token: Path | None,
    page: Path | None,
    title: str,
    seed: int,
    resamples: int,
) -> dict[str, Any]:
    """The breakdown of a measured text; files are written where they were asked for."""
    from kbit.coders import LanguageModelCoder
    from kbit.information.breakdown import breakdown, token_counts
    from kbit.information.by_token import as_record, token_tables

    other = None
    if against is not None:
        model, tokenizer = load_both(against, dtype)
        other = LanguageModelCoder(
            model,
            tokenizer,
            name=Path(against).name or against,
            context=coder.plan.context,
            stride=coder.plan.stride,
            batch_size=coder.batching.size,
            prefix=coder.prefix.id,
            repeat_prefix=coder.batching.repeat_prefix,
        )
    tables = list(token_tables(coder, documents, against=other, baseline=baseline))
    counts = None if baseline_documents is None else token_counts(coder.tokenizer, baseline_documents)
    found = breakdown(tables, counts=counts, seed=seed, resamples=resamples)
    if by_token is not None:
        from kbit.information.generated.continuation import write_lines

        write_lines(by_token, [as_record(table, coder.tokenizer) for table in tables])
        talk(f"{by_token}: {len(tables)} documents, token by token")
    if page is not None:
        from kbit.report.token_page import write_token_page

        if other is None and baseline is None:
            raise CoderError("the page colours a difference: give --against, --format or --baseline-text.")
        write_token_page(
            tables,
            out=page,
            title=title,
            model=coder.name,
            against=None if other is None else other.name,
            baseline=None if baseline is None else baseline.name,
        )
        talk(f"the page: {page.resolve().as_uri()}")
    return {kind: [_share(share) for share in shares] for kind, shares in found.items()}


def _share(share: "Share") -> dict[str, Any]:
    def told(name: str) -> dict[str, Any]:
        estimate = getattr(share, name)
        return {
            name: None if estimate is None else estimate.value,
            f"{name}_ci95": None if estimate is None else estimate.ci95,
        }

    return {
        "name": share.name,
        "tokens": share.tokens,
        "bytes": share.bytes,
        **told("bits_per_byte"),
        **told("gain"),
        **told("cost"),
    }


def draw_breakdown(console: "Console", found: Mapping[str, Sequence[Mapping[str, Any]]]) -> None:
    """Tables of every class but documents, of which there may be thousands: the five largest."""
    from rich.table import Table

    titles = {"document": "document", "script": "script", "place": "tokens before",
              "frequency": "times in the baseline text"}  # fmt: skip
    for kind, shares in found.items():
        shown = shares[:5] if kind == "document" else shares
        has_gain, has_cost = (any(s[c] is not None for s in shown) for c in ("gain", "cost"))
        table = Table(titles[kind], "tokens", "bits/byte", *(["gain, 95%"] if has_gain else []),
                      *(["cost, 95%"] if has_cost else []))  # fmt: skip
        for s in shown:
            cells = [s["name"], f"{s['tokens']:,}", f"{s['bits_per_byte']:.4f}"]
            cells += [_with_interval(s, c) for c, has in (("gain", has_gain), ("cost", has_cost)) if has]
            table.add_row(*cells)
        console.print(table)
        if len(shown) < len(shares):
            console.print(f"and {len(shares) - len(shown)} more; --json tells all", style="dim")


def _with_interval(share: Mapping[str, Any], name: str) -> str:
    if share[name] is None:
        return "-"
    ends = share[f"{name}_ci95"]
    return f"{share[name]:+.4f}" + ("" if ends is None else f" ({ends[0]:+.4f} to {ends[1]:+.4f})")
