"""`kbit chat`: talk with a model in the terminal."""

import sys
from contextlib import ExitStack
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from kbit.cli.generate import DTYPES
from kbit.cli.loading import load_both, quantised
from kbit.cli.output import JsonFlag, emit, talk
from kbit.errors import KbitError, UsageError, did_you_mean

if TYPE_CHECKING:
    from kbit.models.chat import Conversation, Reply

HELP = "/reset forgets the conversation, /quit or the end of input leaves, Ctrl-C stops an answer."


def chat(
    model: Annotated[str, Parameter(help="A model folder or a hub id, k-bit or 16-bit.")],
    /,
    *,
    system: Annotated[str, Parameter(help="What stands before the first turn.")] = "",
    weight_format: Annotated[
        str | None, Parameter(name="--format", help="Quantise to this first, such as nf4:b64.")
    ] = None,
    max_new_tokens: Annotated[int, Parameter(help="At most this many new tokens an answer.")] = 256,
    temperature: Annotated[float, Parameter(help="0 takes the likeliest token each time.")] = 0.8,
    top_k: Annotated[int, Parameter(help="Sample among this many likeliest tokens; 0 among all.")] = 50,
    top_p: Annotated[float, Parameter(help="Among the likeliest of together this probability.")] = 0.95,
    seed: Annotated[int | None, Parameter(help="Of the sampling [drawn].")] = None,
    dtype: Annotated[str, Parameter(help="To compute in: auto (the model's own), float32, …")] = "auto",
    show: Annotated[bool, Parameter(negative=(), help="Tell tokens/s and memory after each answer.")] = False,
    json: JsonFlag = False,
) -> int:
    """Talk with a model; turns are lines of standard input. With --json, the conversation at the end."""
    if dtype not in DTYPES:
        raise UsageError(f"dtype {dtype!r}: {did_you_mean(dtype, DTYPES)}")
    from kbit.models.chat import Conversation

    settings: dict[str, Any] = {
        "max_new_tokens": max_new_tokens, "temperature": temperature, "top_k": top_k, "top_p": top_p,
        "seed": seed,
    }  # fmt: skip
    with ExitStack() as stack:
        folder = model if weight_format is None else quantised(stack, model, weight_format)
        loaded, tokenizer = load_both(folder, dtype)
        conversation = Conversation(loaded, tokenizer, system)
        if not conversation.has_template:
            talk("The tokeniser has no chat template: turns are written as a plain dialogue.")
        if sys.stdin.isatty():
            talk(HELP)
        replies = _talk(conversation, settings, show=show, quiet=json)
    data = {
        "model": model,
        "template": conversation.has_template,
        "turns": [{"role": turn.role, "text": turn.text} for turn in conversation.turns],
        "replies": [
            {
                "new_tokens": len(reply.made.tokens),
                "finish": reply.made.finish,
                "tokens_per_s": reply.made.tokens_per_s,
                "first_token_s": reply.made.first_token_s,
                "engine": reply.made.engine,
                "seed": reply.made.seed,
                "forgotten_turns": reply.forgotten,
            }
            for reply in replies
        ],
    }
    return emit(data, json=json, text=lambda console: None)


def _talk(
    conversation: "Conversation", settings: dict[str, Any], *, show: bool, quiet: bool
) -> "list[Reply]":
    replies: list[Reply] = []
    while (line := _line()) is not None:
        if line in ("/quit", "/exit"):
            break
        if line == "/reset":
            conversation.turns = []
            talk("Forgotten.")
            continue
        if line.startswith("/"):
            talk(HELP)
            continue
        if not line.strip():
            continue
        try:
            reply = conversation.say(line, stream=None if quiet else _write, **settings)
        except UsageError:
            raise  # a setting: it will not get better
        except KbitError as error:
            talk(str(error))  # this turn cannot be answered; the next may be
            continue
        replies.append(reply)
        if not quiet:
            _write("\n")
        if reply.forgotten:
            talk(f"({reply.forgotten} turns no longer fit the context)")
        if show:
            talk(_figures(reply))
    return replies


def _line() -> str | None:
    """The next line the user says; None at the end of input."""
    try:
        return input("> " if sys.stdin.isatty() else "")
    except (EOFError, KeyboardInterrupt):
        return None
    except UnicodeDecodeError as error:
        raise UsageError(f"standard input is not UTF-8 ({error}). Convert it first.") from error


def _write(piece: str) -> None:
    sys.stdout.write(piece)
    sys.stdout.flush()


def _figures(reply: "Reply") -> str:
    import resource

    made = reply.made
    first = "" if made.first_token_s is None else f"first after {made.first_token_s:.2f} s, "
    resident = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    return f"({len(made.tokens)} tokens, {first}{made.tokens_per_s:.1f} a second; {resident:.2f} GiB at most)"
