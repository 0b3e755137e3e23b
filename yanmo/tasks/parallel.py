"""Parallel text as two files, line by line (the form of Moses, OPUS and WMT): `train.en` beside `train.zh`."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from yanmo.core.errors import DataError
from yanmo.core.messages import text
from yanmo.core.paths import written
from yanmo.tasks.offenders import lines


def partner(file: Path, source: str, target: str) -> Path | None:
    """The other file of a pair; None for a file that is not named by one of the two languages. DataError where it is not
    there."""
    other = {f".{source}": f".{target}", f".{target}": f".{source}"}.get(file.suffix)
    if other is None:
        return None
    beside = file.with_suffix(other)
    if not beside.is_file():
        raise DataError(written(file), text("a file beside it with the other language: {name}", name=beside.name), text("none"))
    return beside


def pairs(source: Path, target: Path | None) -> Iterator[tuple[str, str, str]]:
    """(file:line, text, translation) of lines that are not empty on both sides. DataError where the files have not the same
    number of lines, before the first is given."""
    assert target is not None
    own, other = lines(source), lines(target)
    if len(own) != len(other):
        raise DataError(written(source), text("as many lines as {other} has: {count}", other=written(target), count=len(other)),
                        str(len(own)))  # fmt: skip
    for number, (content, translation) in enumerate(zip(own, other), 1):
        if content.strip() or translation.strip():
            yield f"{written(source)}:{number}", content, translation
