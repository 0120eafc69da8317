"""What `fit`, `frontier` and `advise` share: tables from a file or a store, and NAME=VALUE options."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from kbit.errors import UsageError

if TYPE_CHECKING:
    from kbit.laws import Fit

Columns = Annotated[
    list[str] | None,
    Parameter(name="--column", consume_multiple=True, help="ROLE=COLUMN: which column is what."),
]
Where = Annotated[
    list[str] | None,
    Parameter(name="--where", consume_multiple=True, help="COLUMN=VALUE: only rows that have it."),
]
StoreUrl = Annotated[
    str | None, Parameter(name="--store", help="A path, sqlite:///FILE or postgresql://HOST/NAME.")
]
StudyName = Annotated[str | None, Parameter(name="--study", help="Only rows of this study.")]
TextName = Annotated[
    str | None, Parameter(name="--text", help="Only this text; needed where a store has several.")
]


def pairs(given: Sequence[str] | None, *, option: str) -> dict[str, str]:
    """NAME=VALUE options as a mapping.

    Raises:
        UsageError: one without "=", or a name given twice.

    >>> pairs(["params=N", "tokens=D"], option="--column")
    {'params': 'N', 'tokens': 'D'}
    """
    found: dict[str, str] = {}
    for text in given or ():
        name, separator, value = text.partition("=")
        if not separator or not name or not value:
            raise UsageError(f"{option} takes NAME=VALUE, got {text!r}.")
        if name in found:
            raise UsageError(f"{option} {name} is given twice.")
        found[name] = value
    return found


DataFile = Annotated[
    Path | None,
    Parameter(help="A CSV, Parquet or JSON file, or the name of a published set (`kbit ls data`)."),
]


def table_from(
    data: Path | None, store: str | None, *, study: str | None = None, where: Sequence[str] | None = None
) -> list[dict[str, Any]]:
    """Rows of a file or of a store, cut down to those `where` selects.

    Raises:
        UsageError: neither or both are given.
        LawError: the file is no table, or nothing is left.
        StoreError: the store cannot be opened.
    """
    if (data is None) == (store is None):
        raise UsageError("give the rows either as --data FILE (CSV, Parquet, JSON) or as --store URL.")
    from kbit.laws.table import where as select

    if data is not None:
        from kbit.laws.files import read_table
        from kbit.laws.published import BY_NAME

        named = BY_NAME.get(str(data))
        columns: Any = read_table(named.path if named is not None and not data.exists() else data)
    else:
        from kbit.store import open_store

        with open_store(str(store)) as opened:
            columns = list(opened.rows(study))
        if not columns:
            raise UsageError(f"the store {store} holds no rows" + (f" of study {study}." if study else "."))
    chosen = select(columns, pairs(where, option="--where"))
    names = list(chosen)
    return [dict(zip(names, values, strict=True)) for values in zip(*chosen.values(), strict=True)]


def saved_fit(path: Path) -> "Fit":
    """A fit that `kbit fit --save` wrote.

    Raises:
        UsageError: the file cannot be read.
        LawError: it holds no fit, or one of another version.
    """
    from kbit.laws import from_json

    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{path} cannot be read as a saved fit: {error}.") from error
    return from_json(text)
