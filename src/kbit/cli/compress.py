"""`kbit compress`: a text as a file of its code length."""

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from kbit.cli.output import JsonFlag, emit
from kbit.cli.predictive import CoderChoice, chosen_coder, progress_bar
from kbit.errors import CorpusError, UsageError

if TYPE_CHECKING:
    from rich.console import Console

_DEFAULT = CoderChoice()


def compress(
    file: Annotated[Path, Parameter(help="The text to compress.")],
    /,
    *,
    out: Annotated[Path, Parameter(help="The file to write.")],
    choice: CoderChoice = _DEFAULT,
    json: JsonFlag = False,
) -> int:
    """Compress a text with a coder's or a model's predictions."""
    from kbit.coders.compressed import coder_identity
    from kbit.coders.compressed import compress as compress_content
    from kbit.corpus.files import write_whole

    content = read_input(file, out)
    with chosen_coder(choice) as coder, progress_bar("compressing") as progress:
        start = time.perf_counter()
        done = compress_content(coder, content, progress=progress)
        wall_s = time.perf_counter() - start
        data: dict[str, Any] = {
            "out": out,
            "coder": coder.name,
            "identity": coder_identity(coder),
            "bytes": len(content),
            "symbols": done.symbols,
            "code_bits": done.code_bits,
            "compressed_bytes": len(done.content),
            "header_bytes": done.header_bytes,
            "bits_per_byte": 8 * len(done.content) / len(content) if content else None,
            "wall_s": wall_s,
        }
    write_whole(out, done.content)
    return emit(data, json=json, text=lambda console: _draw(console, data))


def read_input(file: Path, out: Path) -> bytes:
    """The content of a file that is not its own output.

    Raises:
        CorpusError: it cannot be read.
        UsageError: input and output are one file.
    """
    try:
        content = file.read_bytes()
    except OSError as error:
        raise CorpusError(f"cannot read {file}: {error.strerror}. Give a file you may read.") from error
    if out.exists() and out.samefile(file):
        raise UsageError(f"--out {out} is the input itself. Give another name.")
    return content


def _draw(console: "Console", data: dict[str, Any]) -> None:
    rate = "" if data["bits_per_byte"] is None else f", {data['bits_per_byte']:.4f} bits a byte"
    console.print(
        f"{data['bytes']:,} bytes in {data['compressed_bytes']:,}{rate}: {data['out']}", markup=False
    )
    console.print(
        f"code length {data['code_bits'] / 8:,.1f} bytes by {data['coder']}, which alone gives the text back",
        markup=False,
    )
