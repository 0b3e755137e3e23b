"""Every error that Yanmo raises on purpose.

    YanmoError
    ├── RequestError            the request was wrong: exit status 2, nothing was started
    │   ├── RecipeError         an unknown key, a wrong type, an unknown part, broken YAML
    │   ├── DataError           a path, a file, a line or a field of the user's data
    │   └── RunError            the run folder: made by other settings, in use, not writable
    └── WorkError               the work failed: exit status 1, the last good state is kept
        ├── StorageError        disk full, a file that vanished or cannot be written
        ├── CorruptError        an artifact whose bytes are not those that its manifest records
        ├── TrainingError       a loss or gradient that is not finite, memory exhausted
        └── Stopped             (stopped.py) asked to stop and saved: exit status 0 for SIGTERM, 130 for an interrupt

A message says *where, what was expected, what was given, what to do*, each a `Text` (a template and its
values), so that one error renders in English and in Chinese. The user's mistakes end in one line without a
traceback; our own mistakes are assertions with a message and keep theirs.
"""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches

from yanmo.core.messages import Text, text

__all__ = [
    "CorruptError", "DataError", "RecipeError", "RequestError", "RunError", "StorageError", "TrainingError",
    "WorkError", "YanmoError", "nearest",
]  # fmt: skip

LISTED = 40  # known names that a message lists


class YanmoError(Exception):
    """An error with a place, an expectation, a finding and a remedy; each may be a plain string or a `Text`."""

    exit_status = 1

    def __init__(
        self,
        where: str | Text,
        expected: str | Text | None = None,
        given: str | Text | None = None,
        remedy: str | Text | None = None,
    ):
        self.where, self.expected, self.given, self.remedy = where, expected, given, remedy
        super().__init__(where, expected, given, remedy)

    def render(self, language: str | None = None) -> str:
        """One line in `language` ('en' or 'zh'; None means the locale's)."""

        def one(part: str | Text) -> str:
            return part.render(language) if isinstance(part, Text) else str(part)

        line = one(self.where)
        if self.expected is not None and self.given is not None:
            clause = text("{where}: expected {expected}, got {given}",
                          where=line, expected=one(self.expected), given=one(self.given))  # fmt: skip
            line = clause.render(language)
        elif self.expected is not None:
            line = text("{where}: expected {expected}", where=line, expected=one(self.expected)).render(language)
        elif self.given is not None:
            line = text("{where}: {given}", where=line, given=one(self.given)).render(language)
        if self.remedy is not None:
            line += " - " + one(self.remedy)
        return " ".join(line.split())

    def __str__(self) -> str:
        return self.render()

    def __reduce__(self):  # crosses a process border (corpus workers) unchanged
        return (type(self), (self.where, self.expected, self.given, self.remedy))


class RequestError(YanmoError):
    exit_status = 2


class RecipeError(RequestError):
    pass


class DataError(RequestError):
    pass


class RunError(RequestError):
    pass


class WorkError(YanmoError):
    exit_status = 1


class StorageError(WorkError):
    pass


class CorruptError(WorkError):
    pass


class TrainingError(WorkError):
    pass


def nearest(given: str, known: Iterable[str]) -> Text:
    """The remedy for a misspelt name: the closest known one, else the list of them, of a long one those that are closest."""
    names = sorted(str(name) for name in known)
    close = get_close_matches(str(given), names, n=1, cutoff=0.6)
    if close:
        return text("did you mean '{name}'?", name=close[0])
    if len(names) > LISTED:
        likely = get_close_matches(str(given), names, n=8, cutoff=0.0)
        return text("{count} are known, among them {names}", count=len(names), names=", ".join(likely))
    return text("known: {names}", names=", ".join(names) or "-")
