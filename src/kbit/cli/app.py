"""The table of commands, and the one place where errors become exit codes."""

import json
import os
import sys
from collections.abc import Sequence

import cyclopts

from kbit.errors import KbitError, UsageError, did_you_mean

DONE, FAILED, USAGE, PARTLY = 0, 1, 2, 3

# command -> (where it lives, one line of help). The module is imported when the command is called.
COMMANDS: dict[str, tuple[str, str]] = {
    "demo": ("kbit.cli.demo:demo", "The whole job on the family of models that ships with kbit."),
    "ls": ("kbit.cli.ls:ls", "List formats, methods, laws, coders, models, tasks or data."),
    "quantize": ("kbit.cli.quantize:quantize", "Write a model at k bits a weight."),
    "measure": ("kbit.cli.measure:measure", "Bits a model needs for a text, and its gain over baselines."),
    "entropy": ("kbit.cli.entropy:entropy", "Entropy of a text by itself, without a model."),
    "generate": ("kbit.cli.generate:generate", "Continue a prompt, or many into a file."),
    "chat": ("kbit.cli.chat:chat", "Talk with a model in the terminal."),
    "compare": ("kbit.cli.compare:compare", "How far generated text is from human text."),
    "fit": ("kbit.cli.fit:fit", "Fit a scaling law, with intervals and a held-out test."),
    "frontier": ("kbit.cli.frontier:frontier", "Which (model, format) is best at each size."),
    "advise": ("kbit.cli.advise:advise", "What to run in a given memory, or to train with a budget."),
    "report": ("kbit.cli.report:report", "One self-contained page from a store."),
    "corpus": ("kbit.cli.corpus:corpus", "Prepare text: read, deduplicate, split."),
    "ngram": ("kbit.cli.ngram:ngram", "Fit an n-gram to a text, save it, export it as ARPA."),
    "compress": ("kbit.cli.compress:compress", "A text as a file of its code length under any coder."),
    "decompress": ("kbit.cli.decompress:decompress", "The text of a compressed file."),
    "pretrain": ("kbit.cli.pretrain:pretrain", "Train a family of models from a recipe."),
    "finetune": ("kbit.cli.finetune:finetune", "Teach a model a task from examples: LoRA or all weights."),
    "memorize": ("kbit.cli.memorize:memorize", "How many bits a model holds, at 16 and at k bits a weight."),
    "lm-eval": ("kbit.cli.lm_eval:lm_eval", "lm-evaluation-harness, with k-bit folders registered."),
    "doctor": ("kbit.cli.doctor:doctor", "What runs here: kernels, threads, memory, versions."),
}

STUDY_COMMANDS: dict[str, tuple[str, str]] = {
    "plan": ("kbit.cli.study:plan", "Count what a study would measure, before a weight is loaded."),
    "run": ("kbit.cli.study:run", "Measure what is not in the store yet."),
    "status": ("kbit.cli.study:status", "How many of the planned measurements are done or failed."),
    "export": ("kbit.cli.study:export", "Write measurements as CSV, Parquet or JSON."),
}

LATENT_COMMANDS: dict[str, tuple[str, str]] = {
    "train": ("kbit.cli.latent:train", "Train a VAE or a GAN on text, from a recipe."),
    "sample": ("kbit.cli.latent:sample", "Draw texts from a model with a latent space."),
    "map": ("kbit.cli.latent:latent_map", "Look at where texts lie in a model's space."),
}

TASK_COMMANDS: dict[str, tuple[str, str]] = {
    "run": ("kbit.cli.task:run", "Ask a model the items of a task, and judge its answers."),
    "score": ("kbit.cli.task:score", "Judge answers that are there already."),
    "examples": ("kbit.cli.task:examples", "Write a task's items as examples for kbit finetune."),
    "files": ("kbit.cli.task:files", "Write a zero-shot task for lm-evaluation-harness itself."),
}

# commands that have commands of their own
GROUPS: dict[str, tuple[str, dict[str, tuple[str, str]]]] = {
    "study": ("A plan of measurements: plan, run, status, export.", STUDY_COMMANDS),
    "task": ("Downstream tasks: run, score, examples, files.", TASK_COMMANDS),
    "latent": ("Text through a latent space: train, sample, map.", LATENT_COMMANDS),
}


def _version() -> str:
    from kbit import __version__

    return __version__


def build_app() -> cyclopts.App:
    """The command-line application, with every command registered but none imported."""
    app = cyclopts.App(
        name="kbit",
        help="How much does a language model know for each bit it stores?",
        version=_version,
        exit_on_error=False,
        print_error=False,
        suppress_keyboard_interrupt=False,  # `run` answers it, with --json too
    )
    for name, (target, summary) in COMMANDS.items():
        app.command(target, name=name, help=summary)
    for noun, (told, commands) in GROUPS.items():
        group = cyclopts.App(name=noun, help=told)
        for name, (target, summary) in commands.items():
            group.command(target, name=name, help=summary)
        app.command(group)
    return app


def main(argv: Sequence[str] | None = None) -> None:
    """Run the command line and exit: 0 done, 1 failed, 2 usage, 3 partly done, 130 interrupted."""
    tokens = list(sys.argv[1:] if argv is None else argv)
    sys.exit(run(tokens))


def run(tokens: Sequence[str]) -> int:
    """Run one command and return its exit code. Messages go to stderr, results to stdout."""
    try:
        code = build_app()(list(tokens), result_action="return_value")
    except cyclopts.UnknownCommandError as error:
        return _fail(_unknown_command(error), kind="UsageError", code=USAGE, tokens=tokens)
    except cyclopts.CycloptsError as error:
        return _fail(str(error), kind="UsageError", code=USAGE, tokens=tokens)
    except KbitError as error:
        code = USAGE if isinstance(error, UsageError) else FAILED
        return _fail(str(error), kind=type(error).__name__, code=code, tokens=tokens)
    except KeyboardInterrupt:
        return _fail("interrupted", kind="KeyboardInterrupt", code=130, tokens=tokens)
    except BrokenPipeError:
        # The reader (`head`, say) has gone: nothing is wrong, and Python must not complain at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return DONE
    except Exception as error:
        if os.environ.get("KBIT_DEBUG"):
            raise
        told = (
            f"unexpected {type(error).__name__}: {error}. This is a fault of kbit; KBIT_DEBUG=1 shows where."
        )
        return _fail(told, kind="InternalError", code=FAILED, tokens=tokens)
    return code if isinstance(code, int) else DONE


def _unknown_command(error: cyclopts.UnknownCommandError) -> str:
    # Cyclopts' own message would import every command to look for the nearest one.
    given = error.unused_tokens[0] if error.unused_tokens else ""
    if given.startswith("-"):
        return f"a command is missing before {given}; allowed: {', '.join([*COMMANDS, *GROUPS])}"
    parents = [name for name in error.command_chain or () if name != given]
    allowed = GROUPS[parents[-1]][1] if parents and parents[-1] in GROUPS else [*COMMANDS, *GROUPS]
    return f"no such command: {' '.join([*parents, given])}; {did_you_mean(given, allowed)}"


def _fail(message: str, *, kind: str, code: int, tokens: Sequence[str]) -> int:
    print(f"kbit: {message}", file=sys.stderr)
    if "--json" in tokens:
        print(json.dumps({"error": {"type": kind, "message": message}}, ensure_ascii=False))
    return code
