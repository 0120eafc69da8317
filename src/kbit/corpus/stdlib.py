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
import importlib
import importlib.machinery
import importlib.util
import inspect
import re
import sys
import sysconfig
import warnings
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

from kbit.corpus.contained import remove_contained
from kbit.corpus.deduplicate import Deduplicated, deduplicate
from kbit.corpus.document import Document
from kbit.corpus.split import Split, position, split_by_hash

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
# What C functions are bound to, as their signatures write it: `($self, x, /)`.
_BOUND = re.compile(r"\(\$\w+(?:, /)?(?:, )?")


def stdlib_documents() -> list[Document]:
    """All documents of the running Python, before duplicates are removed, sorted by name within each kind."""
    return [*_topics(), *_sources(), *_docstrings()]


def stdlib_text() -> Deduplicated:
    """The documents of the running Python without duplicates, near duplicates and parts of others."""
    unlike = deduplicate(stdlib_documents())
    whole = remove_contained(unlike.kept)
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


def excerpts(
    documents: list[Document], *, total_bytes: int = 65_536, document_bytes: int = 1_600
) -> list[Document]:
    """A small test text: the beginnings of many documents, each cut at the end of a line.

    Documents are taken in the order of their hash, so that all kinds appear, and until the total is reached.

    Args:
        documents: held-out documents.
        total_bytes: the most UTF-8 bytes in all.
        document_bytes: the most of one document.
    """
    chosen: list[Document] = []
    left = total_bytes
    for document in sorted(documents, key=lambda d: position("excerpt/" + d.name)):
        text = _cut_at_line(document.text, min(document_bytes, left))
        if len(text.encode()) >= min(256, left):
            chosen.append(Document(name=document.name, text=text))
            left -= chosen[-1].bytes
        if left < 64:
            break
    return sorted(chosen, key=lambda d: d.name)


def _cut_at_line(text: str, most_bytes: int) -> str:
    content = text.encode()
    if len(content) <= most_bytes:
        return text
    return content[: content.rfind(b"\n", 0, most_bytes) + 1].decode()


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
    seen: set[str] = set()
    for name in sorted(sys.stdlib_module_names):
        module = _extension_module(name)
        if module is None:
            continue
        entries = list(_entries(module, seen))
        if entries:
            yield Document(name=f"builtins/{name}", text="\n\n".join(entries) + "\n")


def _extension_module(name: str) -> ModuleType | None:
    """The module, if it is written in C and can be imported here without effects."""
    if name.startswith(EXCLUDED_PREFIXES) or name in EXCLUDED_FOLDERS:
        return None
    try:
        spec = importlib.util.find_spec(name)
    except (ImportError, ValueError):
        return None
    in_c = spec is not None and (
        spec.origin == "built-in" or isinstance(spec.loader, importlib.machinery.ExtensionFileLoader)
    )
    if not in_c:
        return None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return importlib.import_module(name)
        except ImportError:
            return None


def _entries(module: ModuleType, seen: set[str]) -> Iterator[str]:
    """Signature and docstring of a module, its functions, its classes and their methods, once each."""
    yield from _entry(module.__name__, module, seen)
    for name, value in sorted(vars(module).items()):
        if name.startswith("__") or not (callable(value) or inspect.isclass(value)):
            continue
        yield from _entry(f"{module.__name__}.{name}", value, seen)
        if inspect.isclass(value):
            for attribute, member in sorted(vars(value).items()):
                if attribute != "__doc__":
                    yield from _entry(f"{name}.{attribute}", member, seen)


def _entry(name: str, value: object, seen: set[str]) -> Iterator[str]:
    doc = getattr(value, "__doc__", None)
    if not isinstance(doc, str) or len(doc) < 20 or doc in seen or doc == type(value).__doc__:
        return
    seen.add(doc)
    # The text as written in C: `inspect.signature` evaluates defaults, which depends on what was imported.
    signature = getattr(value, "__text_signature__", None) or ""
    signature = _BOUND.sub("(", signature) if isinstance(signature, str) else ""
    yield f"{name}{signature}\n{inspect.cleandoc(doc)}"
