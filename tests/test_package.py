"""The package as a whole: lean imports, and commands that keep their contract."""

import ast
import json
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest

from kbit.cli.app import COMMANDS, GROUPS, run
from kbit.cli.output import plain

ROOT = Path(__file__).parent.parent
NOUNS = [*COMMANDS, *GROUPS]
TARGETS = [target for target, _ in COMMANDS.values()]
TARGETS += [target for _, commands in GROUPS.values() for target, _ in commands.values()]


def _python(code: str) -> str:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return done.stdout


@pytest.mark.parametrize(
    "statement",
    ["import kbit", "import kbit.cli.app as a; a.run(['--help'])", "import kbit.laws", "import kbit.advise"],
)
def test_lean_import(statement: str) -> None:
    heavy = "print([m for m in ('torch', 'transformers') if m in sys.modules])"
    assert _python(f"{statement}\nimport sys\n{heavy}").strip().endswith("[]")


def test_help_is_quick() -> None:
    walls_s = []
    for _ in range(5):
        start = time.perf_counter()
        subprocess.run([sys.executable, "-m", "kbit", "--help"], capture_output=True, check=True)
        walls_s.append(time.perf_counter() - start)
    # The promise is 0.3 s on a quiet machine; the best of five says what this one can do.
    print(f"kbit --help: best {min(walls_s):.3f} s")
    loaded = _python(
        "import sys; from kbit.cli.app import run; run(['--help']); print(sorted(sys.modules))"
    ).splitlines()[-1]
    rooms = {m for m in ast.literal_eval(loaded) if m.startswith("kbit.") and not m.startswith("kbit.cli")}
    assert rooms <= {"kbit.errors"}, "help must import no room"


@pytest.mark.parametrize("noun", NOUNS)
def test_command_has_a_page(noun: str) -> None:
    page = ROOT / "docs" / "commands" / f"{noun}.md"
    assert page.is_file(), f"docs/commands/{noun}.md is missing"
    assert f"kbit {noun}" in page.read_text(encoding="utf-8")


@pytest.mark.parametrize("target", TARGETS)
def test_command_takes_json(target: str) -> None:
    module, function = target.split(":")
    source = (ROOT / "src" / Path(*module.split("."))).with_suffix(".py").read_text(encoding="utf-8")
    [definition] = [
        node
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.FunctionDef) and node.name == function
    ]
    names = [a.arg for a in [*definition.args.args, *definition.args.kwonlyargs]]
    assert "json" in names


@pytest.mark.parametrize("noun", NOUNS)
def test_command_has_an_error_test(noun: str) -> None:
    name = noun.replace("-", "_")
    files = [p for p in (ROOT / "tests").rglob("test_*.py") if p.stem in (f"test_{name}", f"test_cli_{name}")]
    wrong_call = re.compile(r"error|== [12]\b", re.IGNORECASE)
    assert any(wrong_call.search(p.read_text(encoding="utf-8")) for p in files), "its errors are not tested"


@pytest.mark.parametrize(
    ("tokens", "hint"),
    [(["quantise"], "quantize"), (["study", "stauts"], "status"), (["zzz"], "allowed")],
)
def test_unknown_command(tokens: list[str], hint: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run([*tokens, "--json"]) == 2
    out, err = capsys.readouterr()
    assert hint in json.loads(out)["error"]["message"]
    assert hint in err


def test_unknown_option_is_a_usage_error(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["ls", "formats", "--colour", "--json"]) == 2
    assert "colour" in json.loads(capsys.readouterr().out)["error"]["message"]


def test_plain_never_writes_nan() -> None:
    assert plain({"a": [float("inf"), 1.5], "b": Path("x")}) == {"a": [None, 1.5], "b": "x"}


def test_an_interrupt_is_told(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: object, **__: object) -> int:
        raise KeyboardInterrupt

    monkeypatch.setattr("kbit.formats.listing", interrupted)
    assert run(["ls", "formats", "--json"]) == 130
    assert json.loads(capsys.readouterr().out)["error"]["type"] == "KeyboardInterrupt"


def test_a_fault_of_our_own_is_told_in_json(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object, **__: object) -> int:
        raise ZeroDivisionError("by nothing")

    monkeypatch.setattr("kbit.formats.listing", broken)
    assert run(["ls", "formats", "--json"]) == 1
    assert json.loads(capsys.readouterr().out)["error"]["type"] == "InternalError"
    monkeypatch.setenv("KBIT_DEBUG", "1")
    with pytest.raises(ZeroDivisionError):
        run(["ls", "formats"])


def test_options_without_a_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["--json"]) == 2
    assert "command is missing" in json.loads(capsys.readouterr().out)["error"]["message"]


def test_no_page_holds_a_placeholder() -> None:
    pages = [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")]
    assert [page for page in pages if "@@" in page.read_text(encoding="utf-8")] == []
