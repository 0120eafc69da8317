"""`kbit decompress`: the text of a compressed file."""

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from kbit.cli.compress import read_input
from kbit.cli.output import JsonFlag, emit
from kbit.cli.predictive import CoderChoice, chosen_coder, progress_bar

if TYPE_CHECKING:
    from rich.console import Console

_DEFAULT = CoderChoice()


def decompress(
    file: Annotated[Path, Parameter(help="A file of `kbit compress`.")],
    /,
    *,
    out: Annotated[Path, Parameter(help="The text to write.")],
    choice: CoderChoice = _DEFAULT,
    json: JsonFlag = False,
) -> int:
    """Give back the text of a compressed file, with the coder that made it."""
    from kbit.coders.compressed import decompress as decompress_content
    from kbit.corpus.files import write_whole

    compressed = read_input(file, out)
    with chosen_coder(choice) as coder, progress_bar("decompressing") as progress:
        start = time.perf_counter()
        content = decompress_content(coder, compressed, progress=progress)
        data: dict[str, Any] = {
            "out": out,
            "coder": coder.name,
            "bytes": len(content),
            "compressed_bytes": len(compressed),
            "wall_s": time.perf_counter() - start,
        }
    write_whole(out, content)
    return emit(data, json=json, text=lambda console: _draw(console, data))


def _draw(console: "Console", data: dict[str, Any]) -> None:
    console.print(f"{data['bytes']:,} bytes given back: {data['out']}", markup=False)
