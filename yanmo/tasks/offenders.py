"""What is wrong with labelled data, gathered while it is read: one line names the first place, what was expected and what was
given, and the places of the next few of the same kind. A file with a thousand such rows is mended in one go, not row by row.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from yanmo.core.errors import DataError
from yanmo.core.messages import Text, text
from yanmo.core.paths import written

SHOWN = 5  # places that a message names


@dataclass
class Offenders:
    """Kind → its offenders; the kind that was met first is the one that is told."""

    found: dict[str, list[tuple[str, str | Text]]] = field(default_factory=dict)
    told: dict[str, tuple[str | Text | None, str | Text | None]] = field(default_factory=dict)

    def add(self, kind: str, where: str, expected: str | Text | None, given: str | Text,
            remedy: str | Text | None = None, brief: str | Text | None = None) -> None:  # fmt: skip
        """One offender. `expected` and `remedy` are said once, the first's; `brief` is said in place of `given` where it is not
        the first."""
        self.told.setdefault(kind, (expected, remedy))
        places = self.found.setdefault(kind, [])
        places.append((where, brief if brief is not None and places else given))

    def raise_any(self) -> None:
        """DataError where there are any."""
        if not self.found:
            return
        kind, places = next(iter(self.found.items()))
        expected, remedy = self.told[kind]
        where, given = places[0]
        if len(places) > 1:
            listed = ", ".join(f"{place} ({_short(what)})" for place, what in places[1:SHOWN])
            more = len(places) - SHOWN
            also = text("{listed} and {count} more", listed=listed, count=more) if more > 0 else listed
            given = text("{given}; so too {also}", given=given, also=also)
        raise DataError(where, expected, given, remedy)


def leak(split: str, again: Sequence[tuple[str, str]], total: int) -> Text:
    """What is said of rows of a split that also stand in the training data: (the row, the training row) of each."""
    places = [f"{where} = {first}" for where, first in again[:SHOWN]] + ["…"] * (len(again) > SHOWN)
    where, _, first = ", ".join(places).partition(" = ")
    return text("{split}: {count} of {total} texts also stand in the training data (first: {where} = {first})", split=split,
                count=len(again), total=total, where=where, first=first)  # fmt: skip


def decoded(path: Path) -> str:
    """A file's text, which is UTF-8 throughout; DataError that names the first lines that are not."""
    content = path.read_bytes()
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError:
        offenders = Offenders()
    for number, line in enumerate(content.split(b"\n"), 1):
        try:
            line.decode("utf-8-sig" if number == 1 else "utf-8")
        except UnicodeDecodeError as error:
            given = text("byte 0x{byte} at position {position}", byte=f"{line[error.start]:02x}", position=error.start + 1)
            offenders.add("encoding", f"{written(path)}:{number}", text("UTF-8 text"), given, text("convert the file to UTF-8"))
    offenders.raise_any()
    raise AssertionError(f"{path} is no UTF-8 and yet each of its lines is")


def lines(path: Path) -> list[str]:
    """The file's lines without their ends; cut at line feeds alone, so that U+2028 and alike stay inside a line."""
    found = decoded(path).split("\n")
    return [line.removesuffix("\r") for line in (found[:-1] if found[-1] == "" else found)]


def _short(what: str | Text) -> str:
    shown = " ".join(str(what).split())
    return shown if len(shown) <= 48 else shown[:47] + "…"
