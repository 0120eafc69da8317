"""The text every Python carries: the language reference's topics, and the standard library itself.

Three kinds of documents, named after where they come from:

- `topics/NAME`: one topic of `pydoc_data.topics`;
- `stdlib/PATH.py`: one module's source, its docstrings within it;
- `builtins/NAME`: the docstrings of a module written in C, which has no source to carry them.

Left out: tests, `encodings` and other tables, build settings of this machine, and what pip installed.
Two Pythons of different versions carry different texts; of one version, the same on every machine whose
build has the same modules.
"""

import contextlib
import json
import subprocess
import sys
import sysconfig
from collections.abc import Iterator
from pathlib import Path

from kbit.corpus import docstrings
from kbit.corpus.contained import remove_contained
from kbit.corpus.deduplicate import Deduplicated, deduplicate
from kbit.corpus.document import Document
from kbit.corpus.split import Split, split_by_hash
from kbit.errors import CorpusError

HELD_OUT_SHARE = 0.07
# Folders and files below the standard library that are no text to learn from.
EXCLUDED_FOLDERS = frozenset(
    {
        "site-packages",
        "dist-packages",
        "test",
        "tests",
        "idle_test",
        "encodings",
        "__pycache__",
        "lib-dynload",
    }
)
EXCLUDED_FILES = frozenset(
    {
        "pydoc_data/topics.py",  # the topics are documents of their own
        "html/entities.py",  # tables, most of them generated
        "msilib/schema.py",
        "msilib/sequence.py",
        "sitecustomize.py",  # a machine's own
        "usercustomize.py",
    }
)
EXCLUDED_PREFIXES = (
    "_sysconfigdata",
    "config-",
    "_test",
    "_xxtest",
    "_ctypes_test",
    "xxlimited",
    "xxsubtype",
)


def stdlib_documents() -> list[Document]:
    """All documents of the running Python, before duplicates are removed, sorted by name within each kind."""
    return [*_topics(), *_sources(), *_docstrings()]


def stdlib_text(*, threshold: float = 0.8) -> Deduplicated:
    """The documents of the running Python without duplicates, near duplicates and parts of others."""
    unlike = deduplicate(stdlib_documents(), threshold=threshold)
    whole = remove_contained(unlike.kept, threshold=threshold)
    return Deduplicated(kept=whole.kept, dropped=[*unlike.dropped, *whole.dropped])


def stdlib_split(*, held_out_share: float = HELD_OUT_SHARE) -> Split:
    """Training and held-out documents of the running Python, by hash of topic or module name."""
    return split_by_hash(stdlib_text().kept, held_out_share=held_out_share, key=split_key)


def split_key(document: Document) -> str:
    """Topic or module name. A module and its twin in C or pure Python (`_json`, `_pyio`) share a key.

    >>> [split_key(Document(name=n, text="")) for n in ("topics/assert", "stdlib/json/__init__.py")]
    ['topics/assert', 'json']
    >>> [split_key(Document(name=n, text="")) for n in ("stdlib/_pydecimal.py", "builtins/_decimal")]
    ['decimal', 'decimal']
    """
    kind, _, rest = document.name.partition("/")
    if kind == "topics":
        return document.name
    parts = rest.removesuffix(".py").removesuffix("/__init__").split("/")
    parts[0] = parts[0].removeprefix("_py") if parts[0].startswith("_py") else parts[0].lstrip("_")
    return ".".join(parts)


def _topics() -> Iterator[Document]:
    from pydoc_data.topics import topics

    for name in sorted(topics):
        yield Document(name=f"topics/{name}", text=topics[name].strip() + "\n")


def _sources() -> Iterator[Document]:
    root = Path(sysconfig.get_path("stdlib"))
    for file in sorted(root.rglob("*.py")):
        path = file.relative_to(root)
        if EXCLUDED_FOLDERS.intersection(path.parts) or path.as_posix() in EXCLUDED_FILES:
            continue
        if path.parts[0].startswith(EXCLUDED_PREFIXES):
            continue
        with contextlib.suppress(UnicodeDecodeError, OSError):
            text = file.read_bytes().decode().replace("\r\n", "\n")
            if text.strip():
                yield Document(name=f"stdlib/{path.as_posix()}", text=text)


def _docstrings() -> Iterator[Document]:
    """Docstrings as a fresh interpreter has them: a debugger or a test runner replaces parts of `sys`."""
    command = [sys.executable, "-I", "-X", "utf8", docstrings.__file__]
    done = subprocess.run(command, capture_output=True, check=False, timeout=120)
    if done.returncode:
        last = done.stderr.decode(errors="replace").strip().rpartition("\n")[2]
        raise CorpusError(
            f"the docstrings of this Python cannot be read: {sys.executable} ended with {done.returncode} "
            f"({last}). Check that it runs."
        )
    for name, text in json.loads(done.stdout).items():
        yield Document(name=f"builtins/{name}", text=text)
