"""The answer to the training prompt that is most like the one asked: the baseline of prompts whose answers can be verified.

Alike is the cosine of TF-IDF vectors, (1 + ln count) × idf with idf = ln((1+N)/(1+N_term)) + 1 over the N training prompts; terms
are those of `retrieval.py`: words and numbers, of Chinese its characters, alone and in pairs. Of equals the first. Saved as JSON
lines; the vectors are worked out again from them.
"""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar, get_args

import numpy as np
from numpy.typing import NDArray

from yanmo.core import files
from yanmo.core.errors import CorruptError, DataError
from yanmo.core.messages import Text, text
from yanmo.models.base import ModelPart
from yanmo.models.families.family import needs
from yanmo.models.retrieval import Units, terms
from yanmo.models.writer import TextWriter, other_task, required

KNOWN = "known.jsonl"


class NearestModel(ModelPart):
    """The answer to the most similar training prompt: the baseline for prompts with answers."""

    tasks: ClassVar[tuple[str, ...]] = ("prompts",)

    type: str = "nearest"
    units: Units | None = None  # what Chinese is read by; null: characters

    def fit_task(self, task: Any) -> NearestWriter:
        """From the task's training prompts that have an answer; RequestError for another task, DataError without any."""
        required(self, task)
        known = [(example.fields["text"], str(example.fields["answer"])) for example in task.load("train")
                 if "answer" in example.fields]  # fmt: skip
        if not known:
            raise DataError(text("the training texts"), text("prompts with their answers"), text("none"))
        return NearestWriter(known, self.units or "characters")


class NearestWriter(TextWriter):
    """`known`: (prompt, answer) pairs."""

    family = "yanmo_nearest"

    def __init__(self, known: Sequence[tuple[str, str]], units: Units):
        self.known, self.units = list(known), units
        counts = [Counter(terms(prompt, units)) for prompt, _ in self.known]
        found = Counter(term for count in counts for term in count)
        self.idf = {term: math.log((1 + len(counts)) / (1 + n)) + 1 for term, n in found.items()}
        places: dict[str, list[int]] = {}
        weights: dict[str, list[float]] = {}
        for place, count in enumerate(counts):
            for term, weight in self._weights(count).items():
                places.setdefault(term, []).append(place)
                weights.setdefault(term, []).append(weight)
        self._index = {term: (np.array(places[term]), np.array(weights[term])) for term in places}

    def _weights(self, count: Counter[str]) -> dict[str, float]:
        """Of length 1 together; of terms that no training prompt has nothing."""
        raw = {term: (1 + math.log(n)) * self.idf[term] for term, n in sorted(count.items()) if term in self.idf}
        length = math.sqrt(math.fsum(weight * weight for weight in raw.values())) or 1.0
        return {term: weight / length for term, weight in raw.items()}

    def write(self, texts: Sequence[str]) -> list[str]:
        return [self.known[self.nearest(content)][1] for content in texts]

    def nearest(self, content: str) -> int:
        """The place of the most similar prompt."""
        return int(self._alike(content).argmax())

    def similar(self, content: str, most: int) -> tuple[list[int], list[float]]:
        """The places of at most so many prompts that have a term in common with it, the most similar first, and their cosines."""
        alike = self._alike(content)
        places = np.argsort(-alike, kind="stable")[:most]
        places = places[alike[places] > 0]
        return places.tolist(), alike[places].tolist()

    def _alike(self, content: str) -> NDArray[np.float64]:
        alike = np.zeros(len(self.known))
        for term, weight in self._weights(Counter(terms(content, self.units))).items():
            places, weights = self._index[term]
            alike[places] += weight * weights
        return alike

    def unfit(self, task: Any) -> Text | None:
        return other_task(task, "prompts")


class NearestFamily:
    """The prompts with their answers in known.jsonl, what they are read by in config.json."""

    def write(self, model: NearestWriter, folder: Path) -> dict[str, Any]:
        save(folder, model.known)
        return {"architectures": ["YanmoNearest"], "model_type": model.family, "units": model.units}

    def read(self, folder: Path, config: dict[str, Any]) -> NearestWriter:
        """CorruptError for lines that are no such pairs."""
        needs(config, str(folder / "config.json"), "units")
        if not (folder / KNOWN).is_file():
            raise DataError(str(folder), text("a model directory"), text("no {name} in it", name=KNOWN))
        if config["units"] not in get_args(Units):
            raise CorruptError(str(folder / "config.json"), ", ".join(get_args(Units)), str(config["units"])[:80])
        return NearestWriter(load(folder), config["units"])


def save(folder: Path, known: Sequence[tuple[str, str]]) -> None:
    rows = (json.dumps({"prompt": prompt, "answer": answer}, ensure_ascii=False) + "\n" for prompt, answer in known)
    files.write_text(folder / KNOWN, "".join(rows))


def load(folder: Path) -> list[tuple[str, str]]:
    """CorruptError for lines that are no such pairs."""
    try:
        rows = [json.loads(line) for line in (folder / KNOWN).read_text(encoding="utf-8").split("\n") if line]
        assert rows, "no rows"
        known = [(row["prompt"], row["answer"]) for row in rows]
        assert all(isinstance(part, str) for pair in known for part in pair), "texts"
    except (ValueError, KeyError, TypeError, AssertionError) as error:
        raise CorruptError(str(folder / KNOWN), text("prompts with their answers"), str(error)[:80]) from None
    return known
