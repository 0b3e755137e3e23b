"""Whether an answer stands in its passage, and where: what a data set says of it is not always so.

A start may count bytes or UTF-16 units instead of characters, an answer may be written in other code points than the passage, or
come from another version of it. Nothing is mended; the place is named, and what was meant where that can be told.
"""

from __future__ import annotations

import unicodedata
from typing import Any

from yanmo.core.messages import Text, text
from yanmo.tasks.offenders import SHOWN
from yanmo.tasks.readers.squad import Columns, Question, Said, shortened


def problem_of(question: Question, columns: Columns) -> tuple[str, Text] | None:
    """(kind, what is wrong) with a question, or None."""
    for field, content in ((columns.question, question.question), (columns.context, question.context)):
        given = _unfit(content)
        if given is not None:
            return field, _expected(field, *given)
    for said in question.answers:
        given = _unfit(said.text)
        if given is not None:
            return "answer", _expected(columns.answers, *given)
        if not _places(said.text.strip(), question.context):
            shown = shortened(said.text)
            if _form(said.text) in _form(question.context):
                return "form", text("the answer '{answer}' stands in the passage in other characters of Unicode", answer=shown)
            return "absent", text("the answer '{answer}' does not stand in the passage", answer=shown)
        if said.start is not None and (said.start < 0 or not question.context.startswith(said.text, said.start)):
            return "start", _elsewhere(said, question.context)
    return None


def placed(said: Said, context: str) -> dict[str, Any]:
    """A sound answer without the white space at its ends, with its place; `places`: how many there are, where none was said
    and the first is taken."""
    content = said.text.strip()
    if said.start is not None:
        return {"text": content, "start": said.start + len(said.text) - len(said.text.lstrip())}
    return {"text": content, "start": context.index(content), "places": len(_places(content, context))}


def _unfit(content: str) -> tuple[Text, Text] | None:
    if not content.strip():
        return text("some text"), text("an empty one")
    if any("\ud800" <= character <= "\udfff" for character in content):
        return text("Unicode text"), text("half of a surrogate pair")
    return None


def _expected(field: str, expected: Text, given: Text) -> Text:
    return text("field '{field}' expected {expected}, got {given}", field=field, expected=expected, given=given)


def _elsewhere(said: Said, context: str) -> Text:
    """Where an answer with a wrong start stands, and what the start counts if that can be told."""
    places = _places(said.text, context) or _places(said.text.strip(), context)
    values = {"answer": shortened(said.text), "places": ", ".join(map(str, places[:SHOWN])), "start": said.start}
    if said.start in [len(context[:place].encode("utf-16-le", "surrogatepass")) // 2 for place in places]:
        return text("the answer '{answer}' stands at character {places}; {start} counts UTF-16 units", **values)
    if said.start in [len(context[:place].encode("utf-8", "surrogatepass")) for place in places]:
        return text("the answer '{answer}' stands at character {places}; {start} counts bytes", **values)
    return text("the answer '{answer}' stands at character {places}, not at {start}", **values)


def _places(content: str, context: str) -> list[int]:
    """Where the text stands, as far as a message tells."""
    found: list[int] = []
    place = context.find(content)
    while place >= 0 and len(found) <= SHOWN:
        found.append(place)
        place = context.find(content, place + 1)
    return found


def _form(content: str) -> str:
    return " ".join(unicodedata.normalize("NFKC", content).casefold().split())
