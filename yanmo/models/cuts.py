"""What part of a sentence a kind of question asks for, by the simplest signs: 'when' mostly for a number, 'who' for a name.

Each cut takes a question, the passage and the place of a sentence in it, and gives a place within that sentence, or None where
the sentence has no such part. Which cut answers which kind of question is not decided here (`retrieval.py`).
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable

from yanmo.core.data import Place

WHOLE = "sentence"

Cut = Callable[[str, str, Place], Place | None]

ENGLISH = re.compile(
    r"\b(how (?:many|much|long|old|often|far)|who|whom|whose|when|where|why|how|which|what"
    r"|did|does|do|is|was|are|were|has|had|can)\b"
)
CHINESE = (
    ("when", re.compile("什么时候|何时|哪一?年|哪一?天|几月|几年|时间")),
    ("how many", re.compile("多少|几[个位名次人岁种只座]|多[长大高远久]")),
    ("why", re.compile("为什么|为何|原因|因为什么")), ("who", re.compile("谁|哪位|何人|什么人")),
    ("where", re.compile("哪里|哪儿|何处|何地|什么地方|位于哪|哪个(?:国家|城市|地方|省|市|县)")),
    ("how", re.compile("怎么|怎样|如何")),
    ("which", re.compile("哪")), ("what", re.compile("什么|何")),
)  # fmt: skip
CLAUSE = re.compile(r"[,;:，；：、]\s*|\s[-–—]+\s|——|(?<=[^\s])\s+(?=(?:and|but|because|which|who|where|while|after|before)\b)")
NAME = re.compile(r"[A-Z][\w'’.-]*(?:\s+(?:(?:of|the|and|de|van|von|&)\s+)?[A-Z0-9][\w'’.-]*)*")
NUMBER = re.compile(r"[$€£¥]?\d[\d,.:/-]*\d|\d|[一二三四五六七八九十百千万亿〇零两]{2,}")
UNIT = re.compile(
    r"\s?(?:%|percent|years?|days?|months?|weeks?|hours?|minutes?|million|billion|thousand|people|miles?|km)\b"
    r"|[年月日岁个人元米]+[\d一二三四五六七八九十年月日]*"
)
WORD = re.compile("[\u3400-\u4dbf\u4e00-\u9fff]|[^\\W\u3400-\u4dbf\u4e00-\u9fff]+(?:['’][^\\W\u3400-\u4dbf\u4e00-\u9fff]+)*")
EDGE = " \t\n.,;:!?。，；：！？、\"'“”‘’()（）《》「」"


def kind_of(question: str) -> str:
    """The word that asks: 'when', 'how many', …; '' where none is known. Of several questions the last is asked."""
    question = next((part for part in reversed(re.split("[?？]", question)) if part.strip()), question)
    for name, signs in CHINESE:
        if signs.search(question):
            return name
    found = ENGLISH.search(question.casefold())
    return found[1] if found else ""


def sentence(question: str, context: str, place: Place) -> Place | None:
    """All of it but the marks at its end."""
    return _bare(context, *place)


def nearest_clause(question: str, context: str, place: Place) -> Place | None:
    """The clause with the most of the question's words, the first of equals."""
    asked = _words(question)
    return max(_clauses(context, place), key=lambda clause: _shared(context, clause, asked), default=None)


def other_clause(question: str, context: str, place: Place) -> Place | None:
    """The longest of the clauses with the fewest of the question's words."""
    asked = _words(question)
    return min(_clauses(context, place), key=lambda one: (_shared(context, one, asked), one[0] - one[1]), default=None)


def behind(question: str, context: str, place: Place) -> Place | None:
    """What stands behind the last of the question's words, up to the end."""
    asked = _words(question)
    ends = [place[0] + word.end() for word in WORD.finditer(context[place[0] : place[1]]) if _form(word[0]) in asked]
    return _bare(context, ends[-1], place[1]) if ends else None


def behind_clause(question: str, context: str, place: Place) -> Place | None:
    """The same, up to the next clause."""
    found = behind(question, context, place)
    return next(iter(_clauses(context, found)), None) if found else None


def unasked(question: str, context: str, place: Place) -> Place | None:
    """The longest stretch of words that the question has none of."""
    asked = _words(question)
    best: Place | None = None
    start = place[0]
    for word in [*WORD.finditer(context, *place), None]:
        if word is not None and _form(word[0]) not in asked:
            continue
        found = _bare(context, start, place[1] if word is None else word.start())
        if found and (best is None or found[1] - found[0] > best[1] - best[0]):
            best = found
        start = place[1] if word is None else word.end()
    return best


def name(question: str, context: str, place: Place) -> Place | None:
    """The longest run of capitalised words that the question does not say; one at the beginning only where there is no other."""
    asked = _words(question)
    runs = [(match.start() == place[0], match.start() - match.end(), match.span()) for match in NAME.finditer(context, *place)
            if not all(_form(word[0]) in asked for word in WORD.finditer(match[0]))]  # fmt: skip
    return _bare(context, *min(runs)[2]) if runs else None


def number(question: str, context: str, place: Place) -> Place | None:
    """The first number that the question does not say, with its unit."""
    for match in NUMBER.finditer(context, *place):
        if match[0] not in question:
            unit = UNIT.match(context, match.end(), place[1])
            return _bare(context, match.start(), unit.end() if unit else match.end())
    return None


CUTS: dict[str, Cut] = {
    WHOLE: sentence, "nearest clause": nearest_clause, "other clause": other_clause, "behind": behind,
    "behind, one clause": behind_clause, "unasked": unasked, "name": name, "number": number,
}  # fmt: skip


def _clauses(context: str, place: Place) -> list[Place]:
    ends = [(mark.start(), mark.end()) for mark in CLAUSE.finditer(context, *place)]
    starts = [place[0], *(end for _, end in ends)]
    found = (_bare(context, start, end) for start, end in zip(starts, [*(start for start, _ in ends), place[1]]))
    return [clause for clause in found if clause is not None]


def _bare(context: str, start: int, end: int) -> Place | None:
    """[start, end) without blanks and marks at its ends."""
    while start < end and context[start] in EDGE:
        start += 1
    while start < end and context[end - 1] in EDGE:
        end -= 1
    return (start, end) if start < end else None


def _form(word: str) -> str:
    return unicodedata.normalize("NFKC", word).casefold()


def _words(content: str) -> set[str]:
    return {_form(word[0]) for word in WORD.finditer(content)}


def _shared(context: str, place: Place, asked: set[str]) -> int:
    return len(asked & _words(context[place[0] : place[1]]))
