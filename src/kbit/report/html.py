"""HTML as values: text is escaped unless it was built here, so that nothing from a store becomes markup."""

import json
from html import escape
from typing import Any

VOID = frozenset({"br", "hr", "img", "input", "meta", "link", "wbr", "col"})


class Html(str):
    """Markup that was built, not given."""

    __slots__ = ()


def tag(name: str, /, *children: Any, **attributes: Any) -> Html:
    """An element. Children that are not `Html` are escaped; a None child or attribute is left out.

    Attribute names lose a trailing underscore (`class_`); other underscores become hyphens (`aria_label`).

    >>> str(tag("p", "1 < 2 ", tag("b", "&"), class_="note", hidden=True))
    '<p class="note" hidden>1 &lt; 2 <b>&amp;</b></p>'
    >>> str(tag("input", type="range", value='"'))
    '<input type="range" value="&quot;">'
    """
    words = [name]
    for key, value in attributes.items():
        if value is None or value is False:
            continue
        label = key.rstrip("_").replace("_", "-")
        words.append(label if value is True else f'{label}="{escape(str(value))}"')
    inside = join(*children)
    if name in VOID:
        return Html(f"<{' '.join(words)}>")
    return Html(f"<{' '.join(words)}>{inside}</{name}>")


def join(*children: Any) -> Html:
    """Children one after the other, escaped where they are text."""
    parts: list[str] = []
    for child in children:
        if child is None:
            continue
        if isinstance(child, list | tuple):
            parts.append(join(*child))
        else:
            parts.append(child if isinstance(child, Html) else escape(str(child)))
    return Html("".join(parts))


def script_json(data: Any) -> Html:
    r"""JSON that is safe between script tags: no `<`, `>`, `&` or line separator stands in it.

    >>> str(script_json({"model": "</script>"}))
    '{"model":"\\u003c/script\\u003e"}'
    """
    text = json.dumps(data, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    for character in "<>&\u2028\u2029":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return Html(text)
