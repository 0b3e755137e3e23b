"""The entities of the training texts, looked up: what knows every name that it has seen and nothing of the others.

Of each string of characters that was an entity it knows what it mostly was (of equals, an entity rather than none, then the
first by name), and finds it wherever it stands: from left to right the longest that fits between words. Where a tagger is no
better than this, it has learned names by heart.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable

from yanmo.core.data import Example, Span
from yanmo.text.units import units


class Gazetteer:
    """`entries`: what each string is."""

    def __init__(self, entries: dict[str, str]):
        self.entries = entries
        lengths: dict[str, set[int]] = defaultdict(set)
        for name in entries:
            lengths[name[0]].add(len(name))
        self._lengths = {first: sorted(found, reverse=True) for first, found in lengths.items()}

    @classmethod
    def of(cls, examples: Iterable[Example]) -> Gazetteer:
        """From texts with spans."""
        counts: dict[str, Counter[str]] = defaultdict(Counter)
        examples = list(examples)
        for example in examples:
            for span in example.fields["spans"]:
                counts[example.fields["text"][span.start : span.end]][span.label] += 1
        every = cls(dict.fromkeys(counts, ""))
        for example in examples:
            content = example.fields["text"]
            true = {(span.start, span.end) for span in example.fields["spans"]}
            for span in every.find(content):
                if (span.start, span.end) not in true:
                    counts[content[span.start : span.end]][""] += 1
        entries = {}
        for name, seen in counts.items():
            best = min(seen, key=lambda label: (-seen[label], label == "", label))
            if best:
                entries[name] = best
        return cls(entries)

    def find(self, content: str) -> tuple[Span, ...]:
        places = units(content)
        ends = {end for _, end in places}
        found: list[Span] = []
        behind = 0
        for start, _ in places:
            if start < behind:
                continue
            for length in self._lengths.get(content[start], ()):
                label = self.entries.get(content[start : start + length])
                if label is not None and start + length in ends:
                    behind = start + length
                    found.append(Span(start, behind, label))
                    break
        return tuple(found)
