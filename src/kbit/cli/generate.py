"""`kbit generate`: continue a prompt, or many into a file."""

import sys
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from cyclopts import Parameter

from kbit.cli.loading import load_both, quantised
from kbit.cli.output import JsonFlag, emit, talk
from kbit.errors import UsageError, did_you_mean

if TYPE_CHECKING:
    from rich.console import Console

    from kbit.corpus import Document

# Settings of a single prompt, as they are where nothing is said.
ALONE: dict[str, Any] = {
    "min_p": 0.0, "repetition_penalty": 1.0, "stop": (), "engine": "auto", "cache_bits": None,
}  # fmt: skip
DTYPES = ("auto", "float32", "bfloat16", "float16")


def generate(
    model: Annotated[str, Parameter(help="A model folder or a hub id, k-bit or 16-bit.")],
    /,
    *,
    prompt: Annotated[
        str | None,
        Parameter(allow_leading_hyphen=True, help="The text to continue; - reads it from standard input."),
    ] = None,
    prompts: Annotated[
        list[Path] | None,
        Parameter(consume_multiple=True, help="Many: .jsonl, plain text, or folders; needs --out."),
    ] = None,
    out: Annotated[Path | None, Parameter(help="The .jsonl file for continuations of --prompts.")] = None,
    n: Annotated[int, Parameter(name="--n", help="Continuations of each prompt, for each seed.")] = 1,
    prompt_tokens: Annotated[
        int | None, Parameter(help="Only so many first tokens of each prompt; 0 begins new texts.")
    ] = None,
    human_out: Annotated[
        Path | None,
        Parameter(help="Also write how the prompts' documents themselves go on; needs --prompt-tokens."),
    ] = None,
    weight_format: Annotated[
        str | None, Parameter(name="--format", help="Quantise to this first, such as nf4:b64.")
    ] = None,
    max_new_tokens: Annotated[int, Parameter(help="At most this many new tokens.")] = 128,
    temperature: Annotated[float, Parameter(help="0 takes the likeliest token each time.")] = 1.0,
    top_k: Annotated[int, Parameter(help="Sample among this many likeliest tokens; 0 among all.")] = 50,
    top_p: Annotated[
        float, Parameter(help="Sample among the likeliest tokens of together this probability.")
    ] = 1.0,
    min_p: Annotated[
        float, Parameter(help="Sample among tokens at least this times as likely as the likeliest.")
    ] = 0.0,
    repetition_penalty: Annotated[
        float, Parameter(help="Above 1, tokens that occurred become less likely.")
    ] = 1.0,
    stop: Annotated[
        list[str] | None,
        Parameter(allow_leading_hyphen=True, help="End the text before this; may be repeated."),
    ] = None,
    engine: Annotated[str, Parameter(help="auto, core (one C++ call a token) or transformers.")] = "auto",
    cache_bits: Annotated[
        int | None, Parameter(help="Of keys and values in the core: 8, 16 or 32 [the model's type].")
    ] = None,
    seed: Annotated[
        list[int] | None,
        Parameter(consume_multiple=True, help="Of the sampling [drawn]; with --prompts several [0]."),
    ] = None,
    batch_size: Annotated[int, Parameter(help="Continuations of --prompts made together.")] = 16,
    dtype: Annotated[str, Parameter(help="To compute in: auto (the model's own), float32, …")] = "auto",
    numerics: Annotated[
        Literal["a16", "a8"],
        Parameter(help="Activations of packed layers: as they are, or rounded to 8 bits."),
    ] = "a16",
    json: JsonFlag = False,
) -> int:
    """Continue a prompt, the new text appearing as it is made; or many prompts, into a file."""
    if dtype not in DTYPES:
        raise UsageError(f"dtype {dtype!r}: {did_you_mean(dtype, DTYPES)}")
    if (prompt is None) == (prompts is None):
        raise UsageError("give either --prompt TEXT, or --prompts FILE with --out FILE.")
    if (prompts is None) != (out is None):
        raise UsageError("--prompts FILE and --out FILE go together.")
    if prompts is None and (n != 1 or prompt_tokens is not None or human_out is not None):
        raise UsageError("--n, --prompt-tokens and --human-out are for --prompts FILE with --out FILE.")
    if human_out is not None and prompt_tokens is None:
        raise UsageError("--human-out needs --prompt-tokens N: what documents say after N tokens.")
    alone = {
        "min_p": min_p, "repetition_penalty": repetition_penalty, "stop": tuple(stop or ()), "engine": engine,
        "cache_bits": cache_bits,
    }  # fmt: skip
    if prompts is not None and alone != ALONE:
        raise UsageError(
            f"{', '.join(_option(key) for key in alone if alone[key] != ALONE[key])}: for --prompt."
        )
    with ExitStack() as stack:
        settings: dict[str, Any] = {
            "temperature": temperature, "top_k": top_k, "top_p": top_p, "max_new_tokens": max_new_tokens,
        }  # fmt: skip
        if prompts is not None and out is not None:
            return _many(
                stack, model, prompts, out, n=n, prompt_tokens=prompt_tokens, human_out=human_out,
                weight_format=weight_format, seeds=seed or [0], batch_size=batch_size, dtype=dtype,
                numerics=numerics, json=json, settings=settings,
            )  # fmt: skip
        if seed is not None and len(seed) > 1:
            raise UsageError("several seeds are for --prompts FILE; give one.")
        folder = model if weight_format is None else quantised(stack, model, weight_format)
        return _one(
            folder, model, _standard_input() if prompt == "-" else str(prompt), dtype=dtype,
            numerics=numerics, json=json, seed=seed[0] if seed else None, settings=settings | alone,
        )  # fmt: skip


def _option(key: str) -> str:
    return "--" + key.replace("_", "-")


def _standard_input() -> str:
    try:
        return sys.stdin.buffer.read().decode()
    except UnicodeDecodeError as error:
        raise UsageError(f"the prompt on standard input is not UTF-8 ({error}). Convert it first.") from error


def _one(
    folder: str,
    model: str,
    prompt: str,
    *,
    dtype: str,
    numerics: str,
    json: bool,
    seed: int | None,
    settings: dict[str, Any],
) -> int:
    from kbit.models.generation import generate as continue_prompt

    loaded, tokenizer = load_both(folder, dtype, numerics)

    def write(piece: str) -> None:
        sys.stdout.write(piece)
        sys.stdout.flush()

    result = continue_prompt(loaded, tokenizer, prompt, seed=seed, stream=None if json else write, **settings)
    data = asdict(result) | {
        "model": model,
        "prompt": prompt,
        "new_tokens": len(result.tokens),
        "numerics": numerics,
    }
    return emit(data, json=json, text=lambda console: print())


def _many(
    stack: ExitStack,
    model: str,
    prompts: list[Path],
    out: Path,
    *,
    n: int,
    prompt_tokens: int | None,
    human_out: Path | None,
    weight_format: str | None,
    seeds: list[int],
    batch_size: int,
    dtype: str,
    numerics: str,
    json: bool,
    settings: dict[str, Any],
) -> int:
    from kbit.corpus import read_documents
    from kbit.information.generated.decoding import Decoding
    from kbit.information.generated.file import generate_file
    from kbit.information.generated.produce import make_prompts
    from kbit.models import open_model

    decoding = Decoding(**settings)
    _refuse_own_input(prompts, out, human_out)
    documents = list(read_documents(prompts))
    folder = model if weight_format is None else quantised(stack, model, weight_format)
    loaded, tokenizer = load_both(folder, dtype, numerics)
    made = make_prompts(tokenizer, documents, prompt_tokens=prompt_tokens)
    told = {
        "model": model,
        "format": weight_format,
        "content": open_model(folder).content_hash,
        "dtype": str(loaded.dtype).removeprefix("torch."),
    }
    if numerics != "a16":
        told["numerics"] = numerics
    bar = (lambda there, of: talk(f"{there} of {of}")) if sys.stderr.isatty() else None
    written = generate_file(
        loaded, tokenizer, made, decoding, samples=n, seeds=seeds, out=out, told=told, batch_size=batch_size,
        on_made=bar,
    )  # fmt: skip
    human = 0
    if human_out is not None and prompt_tokens is not None:
        human = _write_human(tokenizer, documents, human_out, prompt_tokens, decoding.max_new_tokens)
    data = {
        "out": out,
        "prompts": len(made),
        "continuations": written.lines,
        "made": written.made,
        "reused": written.lines - written.made,
        "new_tokens": written.new_tokens,
        "seeds": seeds,
        "human_out": human_out,
        "human_continuations": human if human_out is not None else None,
        **told,
        **settings,
    }

    def text(console: "Console") -> None:
        console.print(
            f"{out}: {written.lines} continuations of {len(made)} prompts, {written.made} made now "
            f"({written.new_tokens} tokens)"
        )
        if human_out is not None:
            console.print(f"{human_out}: how {human} of the documents go on themselves")

    return emit(data, json=json, text=text)


def _refuse_own_input(prompts: list[Path], out: Path, human_out: Path | None) -> None:
    given = {path.resolve() for path in prompts}
    for target in (out, human_out):
        if target is not None and (target.resolve() in given or target.is_dir()):
            raise UsageError(f"{target} is a folder, or what the prompts are read from. Choose another file.")
    if human_out is not None and human_out.resolve() == out.resolve():
        raise UsageError("--out and --human-out are one file. Choose two.")


def _write_human(
    tokenizer: Any, documents: list["Document"], out: Path, prompt_tokens: int, new_tokens: int
) -> int:
    """The documents' own continuations, as many tokens; those that end within the prompt are left out."""
    from kbit.information.generated.continuation import write_lines
    from kbit.information.generated.produce import human_continuation

    rows = []
    for document in documents:
        prompt, text = human_continuation(
            tokenizer, document, prompt_tokens=prompt_tokens, new_tokens=new_tokens
        )
        if text:
            rows.append({"name": document.name, "source": document.name, "prompt": prompt, "text": text})
    write_lines(out, rows)
    return len(rows)
