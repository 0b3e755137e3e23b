"""Catalogs of a program's messages (gettext) as parallel text. Which of the two languages the messages are in follows from
the one that the header names as the translations'; where it names none, they are in `source`."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from yanmo.core.errors import DataError
from yanmo.core.messages import text
from yanmo.core.paths import written
from yanmo.tasks.tmx import Unit
from yanmo.text import catalog

ENDINGS = (".po", ".mo")


def units(file: Path, source: str, target: str) -> Iterator[Unit]:
    """(file:message, text, translation), None for a side that is lacking or that nobody vouches for. DataError for what is no
    catalog, or one into a third language."""
    try:
        header, found = catalog.read(file)
    except catalog.Unreadable as error:
        raise DataError(written(file), text("a gettext catalog"), error.value or error.reason) from None
    language = catalog.language_of(header)
    into = _code(language) if language else _code(target)
    if into not in (_code(source), _code(target)):
        raise DataError(f"{written(file)}: Language", text("{source} or {target}", source=source, target=target), str(language))
    for number, message in enumerate(found, 1):
        said = message.target.strip() if message.state is None else ""
        pair = (message.source, said or None)
        yield f"{written(file)}:{number}", *(pair if into == _code(target) else pair[::-1])


def _code(language: str) -> str:
    """Of 'zh_CN', 'zh-TW' and 'zh' the same."""
    return language.replace("_", "-").partition("-")[0].lower()
