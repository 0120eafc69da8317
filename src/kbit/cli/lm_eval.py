"""`kbit lm-eval`: lm-evaluation-harness in a process where k-bit folders are known."""

import contextlib
import importlib
import importlib.util
import json as _json
import sys
import tempfile
from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter

from kbit.cli.output import JsonFlag, emit, talk
from kbit.errors import KbitError, MissingExtraError, UsageError


def lm_eval(
    *arguments: Annotated[
        str, Parameter(allow_leading_hyphen=True, help="What lm_eval takes, such as --tasks lambada_openai.")
    ],
    json: JsonFlag = False,
) -> int:
    """Run lm-evaluation-harness with k-bit folders registered; arguments are handed on as they are."""
    if importlib.util.find_spec("lm_eval") is None:
        raise MissingExtraError("lm-eval", needed_for="kbit lm-eval")
    if json and any(a == "--output_path" or a.startswith("--output_path=") for a in arguments):
        raise UsageError("--json reads the harness's results itself: give --output_path or --json, not both.")
    importlib.import_module("kbit.hf")
    if not json:
        return _harness(arguments)
    with tempfile.TemporaryDirectory(prefix="kbit-lm-eval-") as folder:
        with contextlib.redirect_stdout(sys.stderr):
            code = _harness([*arguments, "--output_path", folder])
        if code:
            return code
        data = _results(Path(folder))
    return emit(data, json=True, text=lambda console: None)


def _harness(arguments: Any) -> int:
    main: Any = importlib.import_module("lm_eval.__main__").cli_evaluate
    before = sys.argv
    sys.argv = ["lm_eval", *arguments]
    try:
        main()
    except SystemExit as stop:
        if stop.code not in (None, 0):
            talk(f"kbit: lm_eval ended with {stop.code}")
            return stop.code if isinstance(stop.code, int) else 1
    finally:
        sys.argv = before
    return 0


def _results(folder: Path) -> dict[str, Any]:
    files = sorted(folder.rglob("results_*.json"))
    if not files:
        raise KbitError("lm_eval wrote no results. Run it without --json to see what it says.")
    results: dict[str, Any] = _json.loads(files[-1].read_text())
    return results
