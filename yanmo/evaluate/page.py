"""HTML made of escaped pieces: `tag("p", "a < b", cls="note")` → <p class="note">a &lt; b</p>.

Whatever is not `Markup` is escaped, so a document's text or a stage's name can never become markup.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape
from typing import Any

VOID = frozenset({"meta", "br", "hr", "col", "img"})


class Markup(str):
    """HTML that is safe as it is."""


def tag(name: str, /, *children: Any, **attributes: Any) -> Markup:
    """An element. `cls` is the class; an attribute that is None or False is left out, True stands without a value."""
    written = ""
    for key, value in attributes.items():
        if value is None or value is False:
            continue
        key = "class" if key == "cls" else key.replace("_", "-")
        written += f" {key}" if value is True else f' {key}="{escape(str(value))}"'
    if name in VOID:
        return Markup(f"<{name}{written}>")
    return Markup(f"<{name}{written}>{join(children)}</{name}>")


def join(children: Iterable[Any]) -> Markup:
    """Children one after another: None is nothing, lists are flattened, text is escaped."""
    parts = []
    for child in children:
        if child is None:
            continue
        if isinstance(child, Markup):
            parts.append(str(child))
        elif isinstance(child, list | tuple):
            parts.append(str(join(child)))
        else:
            parts.append(escape(visible(str(child)), quote=False))
    return Markup("".join(parts))


def visible(content: str) -> str:
    """Characters that HTML may not hold (controls, half surrogates), as U+FFFD."""
    return "".join("\ufffd" if (c < " " and c not in "\n\t") or "\x7f" <= c <= "\x9f" or "\ud800" <= c <= "\udfff" else c
                   for c in content)  # fmt: skip


def table(head: Sequence[Any], rows: Iterable[Sequence[Any]], *, cls: str = "", caption: Any = None,
          numbers: Iterable[int] = (), marked: Iterable[int] = ()) -> Markup:  # fmt: skip
    """A table that scrolls by itself where it is too wide. `numbers`: columns set flush right; `marked`: rows set off.
    A None cell is empty; the first cell of a row is its heading."""
    right, set_off = set(numbers), set(marked)

    def cell(name: str, column: int, value: Any, **attributes: Any) -> Markup:
        return tag(name, value, cls="number" if column in right else None, **attributes)

    body = [
        tag("tr", [cell("td" if column else "th", column, value, scope=None if column else "row")
                   for column, value in enumerate(row)], cls="marked" if index in set_off else None)
        for index, row in enumerate(rows)
    ]  # fmt: skip
    header = tag("thead", tag("tr", [cell("th", column, value, scope="col") for column, value in enumerate(head)]))
    inner = [tag("caption", caption) if caption else None, header, tag("tbody", body)]
    return tag("div", tag("table", inner, cls=cls or None), cls="scroll")


def more(summary: Any, *children: Any) -> Markup:
    """What is opened by a click, and printed in full."""
    return tag("details", tag("summary", summary), *children)


def listing(items: Iterable[Any]) -> Markup:
    return tag("ul", [tag("li", item) for item in items])


def language_of(content: str) -> str | None:
    """The `lang` attribute of a text, for the choice of typeface: 'zh' where it has Han characters."""
    return "zh" if any("\u4e00" <= c <= "\u9fff" or "\u3400" <= c <= "\u4dbf" for c in content) else None
