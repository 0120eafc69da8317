"""Docstrings of the modules written in C, which have no source to carry them.

Runs as a program of its own, in an interpreter that nothing has changed: it prints one JSON object, module to
text, and imports the standard library only.
"""

import importlib
import importlib.machinery
import importlib.util
import inspect
import json
import re
import sys
import warnings
from collections.abc import Iterator
from types import ModuleType

# Modules that CPython builds to test itself.
TEST_MODULES = ("_test", "_xxtest", "_ctypes_test", "xxlimited", "xxsubtype")
LEAST_CHARACTERS = 20
# What C functions are bound to, as their signatures write it: `($self, x, /)`.
_BOUND = re.compile(r"\(\$\w+(?:, /)?(?:, )?")


def extension_docstrings() -> dict[str, str]:
    """Module to text, sorted by name; a docstring seen before is not repeated."""
    seen: set[str] = set()
    found = {}
    for name in sorted(sys.stdlib_module_names):
        module = _extension_module(name)
        entries = list(_entries(module, seen)) if module is not None else []
        if entries:
            found[name] = "\n\n".join(entries) + "\n"
    return found


def _extension_module(name: str) -> ModuleType | None:
    """The module, if it is written in C and can be imported here without effects."""
    if name.startswith(TEST_MODULES):
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
    if not isinstance(doc, str) or len(doc) < LEAST_CHARACTERS or doc in seen or doc == type(value).__doc__:
        return
    seen.add(doc)
    # The text as written in C: `inspect.signature` evaluates defaults, which depends on what was imported.
    signature = getattr(value, "__text_signature__", None) or ""
    signature = _BOUND.sub("(", signature) if isinstance(signature, str) else ""
    yield f"{name}{signature}\n{inspect.cleandoc(doc)}"


if __name__ == "__main__":
    print(json.dumps(extension_docstrings()))
