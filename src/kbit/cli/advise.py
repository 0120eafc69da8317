"""`kbit advise`: what to run in a given memory."""

from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from kbit.cli.output import JsonFlag, emit
from kbit.cli.rows import StudyName, TextName, table_from

if TYPE_CHECKING:
    from rich.console import Console


def advise(
    *,
    store: Annotated[str, Parameter(help="A path, sqlite:///FILE or postgresql://HOST/NAME.")],
    memory_gib: Annotated[float, Parameter(help="Memory there is, in GiB (2^30 bytes).")],
    context: Annotated[int, Parameter(help="Tokens kept, prompt and answer together.")],
    batch: Annotated[int, Parameter(help="Sequences at once.")] = 1,
    kv_bits: Annotated[float, Parameter(help="Bits for each number of the key-value cache.")] = 16.0,
    study: StudyName = None,
    text: TextName = None,
    top: Annotated[int, Parameter(help="Choices shown in a terminal; JSON has all.")] = 12,
    json: JsonFlag = False,
) -> int:
    """Rank the measured (model, format) pairs that fit in a memory, by what they gain."""
    from kbit.advise import advise as give_advice
    from kbit.advise.advice import readable

    rows = table_from(None, store, study=study)
    advice = give_advice(
        rows, memory_gib=memory_gib, context=context, batch=batch, kv_bits=kv_bits, text=text
    )

    def show(console: "Console") -> None:
        from rich.table import Table

        table = Table(title=f"what fits in {readable(memory_gib * 2**30)}, best first", box=None)
        table.add_column("model")
        table.add_column("format")
        for name in ("gain, bits/byte", "95%", "memory", "weights", "cache", "working", ""):
            table.add_column(name, justify="right")
        for c in advice.choices[:top]:
            table.add_row(
                c.model,
                c.format,
                f"{c.gain:.4f}",
                "not measured" if c.ci95 is None else f"{c.ci95[0]:.4f} to {c.ci95[1]:.4f}",
                readable(c.memory_gib * 2**30),
                readable(c.weights_bytes),
                readable(c.kv_bytes),
                readable(c.working_bytes),
                "tie" if c.tie_with_best and c.rank > 1 else "",
            )
        if advice.choices:
            console.print(table)
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

    return emit(advice.to_dict(), json=json, text=show)
