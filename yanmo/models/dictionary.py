"""Translation word by word, with the choice between a word's translations left to the words before it.

    dictionary   of each source word, what it may become and how probably: from the aligned training text (alignment.py), or
                 CC-CEDICT with all its meanings equally probable
    order        interpolated Kneser-Ney over the words of the translations (kneser_ney.py), `order` words long

The source is read from left to right; of the translations that the beam keeps, each is continued by every meaning of the
next word, and the best by  ln p(meaning | word) + weight · Σ ln (p(w | words before) / p(w))  are kept: how much likelier
the words before make each word w. (p(w | words before) alone would take the shortest translation, mostly nothing.) Nothing
changes places: it is what a dictionary and a feeling for the language give, and what a translation model has to beat. A
word that the dictionary lacks is copied; the meaning 'nothing' costs what the alignments say.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from itertools import count as numbers_from
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from yanmo.core import files
from yanmo.core.errors import CorruptError, DataError
from yanmo.core.messages import Text, text
from yanmo.core.paths import expand
from yanmo.models import alignment, cedict
from yanmo.models.base import ModelPart
from yanmo.models.families.family import needs
from yanmo.models.kneser_ney import count, estimate
from yanmo.models.trie import Trie
from yanmo.models.writer import TextWriter, other_task, required
from yanmo.text.segment import spaced, words

ENTRIES = "entries.json"
KEPT, BEAM = 8, 12  # meanings of a word, translations that are followed
PHRASE = 3  # source words that an entry may have
TINY = 1e-30
Array = NDArray[Any]
Entry = list[tuple[list[str], float]]  # what a word may become, and how probably


class DictionaryModel(ModelPart):
    """Word by word by a dictionary, the target language's n-grams choosing: a baseline for translations.

    `dictionary`: a CC-CEDICT file instead of what the training text teaches; `rounds`: of EM; `order`: of the n-grams;
    `weight`: what those count beside the dictionary."""

    tasks: ClassVar[tuple[str, ...]] = ("translate",)

    type: str = "dictionary"
    dictionary: str | None = None
    rounds: int | None = Field(None, ge=1, le=100)  # None: 8
    order: int = Field(3, ge=1, le=8)
    weight: float = Field(0.3, ge=0, allow_inf_nan=False)

    @model_validator(mode="after")
    def _needed(self) -> DictionaryModel:
        if self.dictionary is not None and self.rounds is not None:
            raise ValueError(str(text("'rounds' left out where a dictionary is given")))
        return self

    def fit_task(self, task: Any) -> DictionaryWriter:
        """From the training pairs of a translation task; of those only the translations where a dictionary is given."""
        required(self, task)
        examples = task.load("train")
        if not examples:
            raise DataError(text("the training texts"), text("some"), text("none"))
        targets = [words(task.answer(example), task.target, self.type) for example in examples]
        if self.dictionary is not None:
            found = self._given(task.source, task.target)
        else:
            sources = [[word.lower() for word in words(e.fields["text"], task.source, self.type)] for e in examples]
            found = self._learned(sources, targets)
        vocabulary = sorted({word for line in targets for word in line} | {w for e in found.values() for m, _ in e for w in m})
        trie = _ordered(targets, vocabulary, self.order)
        return DictionaryWriter(task.source, task.target, found, vocabulary, trie, self.weight)

    def _learned(self, sources: list[list[str]], targets: list[list[str]]) -> dict[str, Entry]:
        own, other = (_numbered(lines) for lines in (sources, targets))
        links = alignment.Links([([own[w] for w in s], [other[w] for w in t]) for s, t in zip(sources, targets)])
        became = alignment.entries(links, alignment.translation_probabilities(links, self.rounds or 8))
        spelled, written = list(own), list(other)
        found = {}
        for number in sorted(became):
            ways = sorted(became[number].items(), key=lambda item: (-item[1], item[0]))[:KEPT]
            total = sum(times for _, times in ways)
            found[spelled[number - 1]] = [([written[w - 1] for w in way], times / total) for way, times in ways]
        return found

    def _given(self, source: str, target: str) -> dict[str, Entry]:
        languages = [code.partition("-")[0].lower() for code in (source, target)]
        if sorted(languages) != ["en", "zh"]:
            raise DataError(str(self.dictionary), text("a translation between en and zh"), f"{source} → {target}")
        found: dict[str, list[str]] = {}
        for file in expand(str(self.dictionary)):
            for chinese, english in cedict.glosses(file):
                key, meaning = (english.lower(), chinese) if languages[0] == "en" else (chinese, english)
                if meaning not in (ways := found.setdefault(key, [])):
                    ways.append(meaning)
        return {key: [(words(way, target, self.type), 1 / min(len(ways), KEPT)) for way in ways[:KEPT]]
                for key, ways in found.items() if key.count(" ") < PHRASE}  # fmt: skip


def _numbered(lines: Sequence[Sequence[str]]) -> dict[str, int]:
    """Each word's number from 1, in the order of the words."""
    return dict(zip(sorted({word for line in lines for word in line}), numbers_from(1)))


def _ordered(lines: Sequence[Sequence[str]], vocabulary: Sequence[str], order: int) -> Trie:
    """The n-grams of the lines; 0 is their border, a word's number one more than its place in the vocabulary."""
    numbers = {word: number for number, word in enumerate(vocabulary, 1)}
    stream = np.array([number for line in lines for number in (0, *(numbers[word] for word in line))], np.int64)
    return estimate(count(stream, len(vocabulary) + 1, 0, order), None, None)


class DictionaryWriter(TextWriter):
    """`entries`: by the lower-case source words; `vocabulary`: the target's words, in the order of their numbers from 1."""

    family = "yanmo_dictionary"

    def __init__(self, source: str, target: str, entries: dict[str, Entry], vocabulary: list[str], trie: Trie, weight: float):
        self.source, self.target, self.entries, self.trie, self.weight = source, target, entries, trie, weight
        self.vocabulary = vocabulary
        self.numbers = {word: number for number, word in enumerate(vocabulary, 1)}

    def unfit(self, task: Any) -> Text | None:
        if task.type == "translate" and (task.source, task.target) != (self.source, self.target):
            return text("it translates from {source} to {target}", source=self.source, target=self.target)
        return other_task(task, "translate")

    def write(self, texts: Sequence[str]) -> list[str]:
        return [self._one(content) for content in texts]

    def meanings(self, content: str) -> list[Entry]:
        """What the words of a text may become, in their order; the longest entries first."""
        pieces = words(content, self.source, "dictionary")
        found: list[Entry] = []
        at = 0
        while at < len(pieces):
            for size in range(min(PHRASE, len(pieces) - at), 0, -1):
                entry = self.entries.get(" ".join(pieces[at : at + size]).lower())
                if entry is not None:
                    break
            found.append(entry if entry is not None else [([pieces[at]], 1.0)])
            at += size
        return found

    def _one(self, content: str) -> str:
        longest = self.trie.order - 1
        scores, nodes, lines = np.zeros(1), np.zeros((1, longest), np.int64), [list[str]()]
        if longest:
            nodes[0, 0] = 1  # the border
        for entry in self.meanings(content):
            made, states, texts = [], [], []
            for meaning, probability in entry:
                gained, after = self._follow(nodes, meaning)
                made.append(scores + np.log(probability) + self.weight * gained)
                states.append(after)
                texts += [[*line, *meaning] for line in lines]
            every, state = np.concatenate(made), np.concatenate(states)
            best = np.argsort(-every, kind="stable")[:BEAM]
            scores, nodes, lines = every[best], state[best], [texts[place] for place in best]
        said = spaced(lines[0])
        return said[:1].upper() + said[1:] if content.strip()[:1].isupper() else said

    def _follow(self, nodes: Array, meaning: Sequence[str]) -> tuple[Array, Array]:
        """Σ ln (p(w | words before) / p(w)) of the words behind each state (n, order - 1), and the states behind them. Of a word
        that was never written nothing is known, nor behind it."""
        gained, trie = np.zeros(len(nodes)), self.trie
        for word in meaning:
            number = self.numbers.get(word)
            if number is None:
                nodes = np.zeros_like(nodes)
                continue
            wanted = np.full(len(nodes), number, np.int64)
            probability = np.full(len(nodes), trie.unigram[number], np.float64)
            after = np.zeros_like(nodes)
            if nodes.shape[1]:
                after[:, 0] = number + 1
            for length in range(1, trie.order):
                node = nodes[:, length - 1]
                child = trie.find(node, wanted)
                probability = probability * trie.gamma[node] + trie.share[child]
                if length < trie.order - 1:
                    after[:, length] = child
            gained += np.log(np.maximum(probability, TINY)) - np.log(trie.unigram[number])
            nodes = after
        return gained, nodes


class DictionaryFamily:
    """Entries and vocabulary as JSON, n-grams in model.safetensors."""

    def write(self, model: DictionaryWriter, folder: Path) -> dict[str, Any]:
        content = {"vocabulary": model.vocabulary, "entries": model.entries}
        files.write_text(folder / ENTRIES, json.dumps(content, ensure_ascii=False, separators=(",", ":")) + "\n")
        model.trie.save(folder)
        return {"architectures": ["YanmoDictionary"], "model_type": model.family, "source": model.source, "target": model.target,
                "order": model.trie.order, "ngrams": model.trie.ngrams, "weight": model.weight}  # fmt: skip

    def read(self, folder: Path, config: dict[str, Any]) -> DictionaryWriter:
        """CorruptError where the parts do not fit together."""
        needs(config, str(folder / "config.json"), "source", "target", "order", "ngrams", "weight")
        try:
            stored = files.read_json(folder / ENTRIES)
            vocabulary = stored["vocabulary"]
            found: dict[str, Entry] = {word: [(list(way), float(share)) for way, share in entry]
                                       for word, entry in stored["entries"].items()}  # fmt: skip
            assert type(config["order"]) is int
            assert 1 <= config["order"] <= 8
            assert all(share > 0 for entry in found.values() for _, share in entry)
        except (OSError, ValueError, KeyError, TypeError, AttributeError, AssertionError) as error:
            raise CorruptError(str(folder / ENTRIES), text("entries of a dictionary"), str(error)[:200] or None) from error
        trie = Trie.opened(folder, config["order"], len(vocabulary) + 1, config["ngrams"], None)
        return DictionaryWriter(config["source"], config["target"], found, vocabulary, trie, float(config["weight"]))
