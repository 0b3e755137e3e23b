"""A text with its entities, as every reader gives it, and what is asked of both."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from yanmo.core.config import describe
from yanmo.core.data import Span
from yanmo.core.messages import text
from yanmo.tasks.offenders import Offenders

Overlaps = Literal["error", "longest"]


@dataclass(frozen=True, slots=True)
class Tagged:
    """`where`: file:line of the text. `group`: for results by the value of a field. `dropped`: entities within others that the
    setting `overlaps: longest` left out; `trimmed`: those that had spaces at their ends."""

    text: str
    spans: tuple[Span, ...]
    where: str
    group: str = ""
    dropped: int = 0
    trimmed: int = 0


@dataclass
class Reading:
    """What is done with every text that is read, and what was wrong. `entities`: the types that are wanted, and what they are
    called then (None: all, as they are). `seen`: the types that were met."""

    overlaps: Overlaps = "error"
    entities: Mapping[str, str] | None = None
    offenders: Offenders = field(default_factory=Offenders)
    seen: set[str] = field(default_factory=set)

    def tagged(self, content: str, spans: Sequence[tuple[Span, str]], where: str, group: str = "") -> Tagged | None:
        """The text with its wanted spans (each given with its own place for messages) in order, or None where something is
        wrong with it, which then stands among the offenders."""
        if not content.strip():
            self.offenders.add("empty", where, text("some text"), text("an empty one"))
            return None
        if any("\ud800" <= character <= "\udfff" for character in content):
            self.offenders.add("surrogate", where, text("Unicode text"), text("half of a surrogate pair"))
            return None
        sound: list[tuple[Span, str]] = []
        trimmed = 0
        for span, place in spans:
            self.seen.add(span.label)
            if self.entities is not None and span.label not in self.entities:
                continue
            inside = self._within(content, span, place)
            if inside is None:
                return None
            trimmed += inside != (span.start, span.end)
            label = span.label if self.entities is None else self.entities[span.label]
            sound.append((Span(*inside, label), place))
        kept: list[Span] = []
        dropped = 0
        # the longest first where the others may go, else in the order of the text
        longest = self.overlaps == "longest"
        sound.sort(key=lambda pair: (pair[0].start - pair[0].end if longest else 0, pair[0].start, pair[0].end))
        for span, place in sound:
            across = next((other for other in kept if other.start < span.end and span.start < other.end), None)
            if across is None:
                kept.append(span)
            elif span == across or longest:
                dropped += span != across  # what is said twice is said once
            else:
                given = text("{span} across {other}", span=_shown(content, span), other=_shown(content, across))
                self.offenders.add("overlap", place, text("entities that do not overlap"), given,
                                   text("'overlaps: longest' keeps the longest of them"))  # fmt: skip
                return None
        return Tagged(content, tuple(sorted(kept, key=lambda span: span.start)), where, group, dropped, trimmed)

    def _within(self, content: str, span: Span, place: str) -> tuple[int, int] | None:
        """The span without the spaces at its ends; None where it is not within the text or holds nothing else."""
        if not 0 <= span.start < span.end <= len(content):
            expected = text("entities within the text's characters, [0, {length})", length=len(content))
            self.offenders.add("outside", place, expected, f"[{span.start}, {span.end}) '{span.label}'")
            return None
        inner = content[span.start : span.end]
        if not inner.strip():
            given = text("[{start}, {end}) '{label}', which is blank", start=span.start, end=span.end, label=span.label)
            self.offenders.add("blank", place, text("entities that hold some text"), given)
            return None
        return span.end - len(inner.lstrip()), span.start + len(inner.rstrip())


def _shown(content: str, span: Span) -> str:
    return f"{describe(content[span.start : span.end])} '{span.label}'"
