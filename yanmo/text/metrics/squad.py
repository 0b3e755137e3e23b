"""Exact match and F1 of answers, by the scripts that the data sets' own figures come from.

    squad1   SQuAD 1.1 (Rajpurkar et al. 2016, evaluate-v1.1.py): lower case, without ASCII punctuation, without the words
             a, an, the, white space made one; F1 of the words, counted with their number
    squad2   SQuAD 2.0 (Rajpurkar et al. 2018, evaluate-v2.0.py): the same, and questions without an answer: right is the
             empty answer alone. Answers that nothing is left of count as none
    cmrc     CMRC 2018 (Cui et al. 2019, cmrc2018_evaluate.py): lower case, without Chinese punctuation and a few ASCII signs;
             a Chinese character is a piece, of what stands between them words are. F1 of the longest stretch of pieces that
             both have side by side. No-answer questions, which CMRC has not, are as in squad2

Of several answers the best counts, for exact match and for F1 each on its own. Everything is a share from 0 to 1 (the
scripts print percent).

Between Chinese characters the CMRC script makes words with NLTK, whose model of sentences is data that would have to be fetched.
Here that is NLTK's word tokenizer in outline: blanks part words, and so do quotes, brackets, ; @ # $ % & ? ! and a comma that no
digit follows, which stand alone; a full stop parts at the end alone, and English contractions are cut (do n't, it 's).
"""

from __future__ import annotations

import re
import string
from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

RULES = ("squad1", "squad2", "cmrc")

ARTICLE = re.compile(r"\b(a|an|the)\b")
PUNCTUATION = str.maketrans("", "", string.punctuation)
# The script's list; its '……' of two characters never equals one, so '…' stays.
SIGNS = str.maketrans("", "", "-:_*^/\\~`+=，。：？！“”；’《》·、「」（）－～『』")
CHINESE = re.compile("([\u4e00-\u9fa5])")
STOP = re.compile(r"""(?<=[^.])(\.)(?=[\])}>"' ]*$)""")
ALONE = re.compile(r"""(\.{2,}|[–—]|[\[\](){}<>";@#$%&?!‘„«»]|,(?!\d))""")
CONTRACTION = re.compile(r"(?<=[^' ])('(?:[smd]|ll|re|ve)?|n't)(?=\s|$)")


class Score(NamedTuple):
    """Of one question; shares from 0 to 1."""

    exact: float
    f1: float


def score(given: str, answers: Sequence[str], rule: str = "squad2") -> Score:
    """How right an answer is; '' says that there is none, and no `answers` that this is so."""
    assert rule in RULES, rule
    if rule == "squad2":
        answers = [answer for answer in answers if normalize(answer)]
    if not answers:
        right = float(not (given.strip() if rule == "cmrc" else normalize(given)))
        return Score(right, right)
    one = _cmrc if rule == "cmrc" else _squad
    found = [one(given, answer, rule) for answer in answers]
    return Score(max(exact for exact, _ in found), max(f1 for _, f1 in found))


def normalize(answer: str) -> str:
    """What SQuAD compares."""
    return " ".join(ARTICLE.sub(" ", answer.lower().translate(PUNCTUATION)).split())


def pieces(answer: str) -> list[str]:
    """What CMRC counts."""
    found: list[str] = []
    for number, stretch in enumerate(CHINESE.split(_bare(answer))):
        found += [stretch] if number % 2 else _words(stretch)
    return found


def _words(stretch: str) -> list[str]:
    stretch = ALONE.sub(r" \1 ", STOP.sub(r" \1 ", stretch))
    return CONTRACTION.sub(r" \1", stretch).split()


def _squad(given: str, answer: str, rule: str) -> Score:
    one, other = normalize(given), normalize(answer)
    exact = float(one == other)
    words, wanted = one.split(), other.split()
    if rule == "squad2" and not (words and wanted):
        return Score(exact, exact)
    same = sum((Counter(words) & Counter(wanted)).values())
    return Score(exact, _f1(same, len(words), len(wanted)))


def _cmrc(given: str, answer: str, rule: str) -> Score:
    exact = float(_bare(given) == _bare(answer))
    one, other = pieces(given), pieces(answer)
    return Score(exact, _f1(longest_common(one, other), len(one), len(other)))


def _bare(answer: str) -> str:
    return answer.lower().strip().translate(SIGNS)


def longest_common(one: Sequence[str], other: Sequence[str]) -> int:
    """The number of pieces in the longest stretch that stands in both."""
    best = 0
    row = [0] * (len(other) + 1)
    for piece in one:
        before = 0
        for place, wanted in enumerate(other, 1):
            before, row[place] = row[place], before + 1 if piece == wanted else 0
            best = max(best, row[place])
    return best


def _f1(same: int, given: int, wanted: int) -> float:
    if not same:
        return 0.0
    precision, recall = same / given, same / wanted
    return (2 * precision * recall) / (precision + recall)
