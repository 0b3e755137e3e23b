"""Short dialogues in English and in Chinese, by topic: ChatterBot's corpus (Gunther Cox and contributors)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import yaml

from yanmo.core.errors import CorruptError
from yanmo.core.messages import text
from yanmo.tasks.datasets.dataset import Archive, Item, LabelledSet, Members

LANGUAGES = {"english": "en", "chinese": "zh"}  # folder → what rows say


class ChatterBot(LabelledSet):
    """Short dialogues in English and in Chinese: greetings, jokes, science, feelings, questions and answers."""

    archives = (
        Archive("pypi", "chatterbot-corpus", "1.3.3", "86de5300afb9a80826386339d3bec79c0a72eb0358abb8327e2ecef5ae0ce154",
                ("chatterbot_corpus/data/english/*.yml", "chatterbot_corpus/data/chinese/*.yml")),
    )  # fmt: skip
    licence = "BSD-3-Clause"
    author = "Gunther Cox and contributors"
    task = "chat"
    languages = ("en", "zh")
    inputs = ("messages",)
    changes = ("utterances are the user's and the assistant's in turn; an utterance that nobody answers is left out",
               "dialogues that begin with the same words stand on one side of the split")  # fmt: skip

    def items(self, members: Members) -> Iterator[Item]:
        for folder, language in LANGUAGES.items():
            for name, content in members.matching(f"*/data/{folder}/*.yml").items():
                for talk in conversations(name, content):
                    spoken = [" ".join(str(said).split()) for said in talk]
                    spoken = spoken[: len(spoken) // 2 * 2]  # pairs
                    if spoken and all(spoken):
                        messages = [{"role": ("user", "assistant")[i % 2], "content": said} for i, said in enumerate(spoken)]
                        yield Item({"messages": messages, "language": language}, group=f"{language}\t{spoken[0].lower()}")


def conversations(name: str, content: bytes) -> list[list[Any]]:
    """A file's dialogues. CorruptError for a file of another form."""
    try:
        found = yaml.safe_load(content.decode("utf-8"))
        talks = found["conversations"]
    except (UnicodeDecodeError, yaml.YAMLError, TypeError, KeyError) as error:
        raise CorruptError(name, text("a list 'conversations'"), " ".join(str(error).split())[:80]) from None
    return [talk for talk in talks if isinstance(talk, list)]
