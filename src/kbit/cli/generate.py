"""`kbit generate`: continue a prompt."""

import sys
from dataclasses import asdict
from typing import Annotated

from cyclopts import Parameter

from kbit.cli.output import JsonFlag, emit
from kbit.errors import UsageError, did_you_mean

DTYPES = ("auto", "float32", "bfloat16", "float16")


def generate(
    model: Annotated[str, Parameter(help="A model folder or a hub id, k-bit or 16-bit.")],
    /,
    *,
    prompt: Annotated[
        str,
        Parameter(allow_leading_hyphen=True, help="The text to continue; - reads it from standard input."),
    ],
    max_new_tokens: Annotated[int, Parameter(help="At most this many new tokens.")] = 128,
    temperature: Annotated[float, Parameter(help="0 takes the likeliest token each time.")] = 1.0,
    top_k: Annotated[int, Parameter(help="Sample among this many likeliest tokens; 0 among all.")] = 50,
    top_p: Annotated[
        float, Parameter(help="Sample among the likeliest tokens of together this probability.")
    ] = 1.0,
    seed: Annotated[int | None, Parameter(help="Of the sampling; drawn and told if not given.")] = None,
    dtype: Annotated[str, Parameter(help="To compute in: auto (the model's own), float32, …")] = "auto",
    json: JsonFlag = False,
) -> int:
    """Continue a prompt; the new text appears as it is made."""
    if dtype not in DTYPES:
        raise UsageError(f"dtype {dtype!r}: {did_you_mean(dtype, DTYPES)}")
    if prompt == "-":
        try:
            prompt = sys.stdin.buffer.read().decode()
        except UnicodeDecodeError as error:
            raise UsageError(
                f"the prompt on standard input is not UTF-8 ({error}). Convert it first."
            ) from error

    import torch

    from kbit.models import load, load_tokenizer
    from kbit.models.generation import generate as continue_prompt

    tokenizer = load_tokenizer(model)
    loaded = load(model, dtype=None if dtype == "auto" else getattr(torch, dtype))

    def write(piece: str) -> None:
        sys.stdout.write(piece)
        sys.stdout.flush()

    result = continue_prompt(
        loaded,
        tokenizer,
        prompt,
        max_new_tokens=max_new_tokens,
        temperature=temperature,
        top_k=top_k,
        top_p=top_p,
        seed=seed,
        stream=None if json else write,
    )
    data = asdict(result) | {"model": model, "prompt": prompt, "new_tokens": len(result.tokens)}
    return emit(data, json=json, text=lambda console: print())
