"""A conditional random field over written features: the baseline that a neural tagger has to beat (Lafferty et al. 2001).

A text is read unit by unit: words where spaces part them, characters where none do (Chinese). Each unit is described by
itself and its neighbours, alone and in pairs, and by what it is made of; a word also by its shape, its beginning and its end.
The field gives a weight to every description with every tag and to every tag after every other; it is fitted by CRFsuite's
L-BFGS with an L2 penalty (and L1 where `c1` is more than 0, which leaves most weights at zero), and decodes by Viterbi.

Saved, it is CRFsuite's own file beside a config.json with the tags; nothing is pickled.
"""

from __future__ import annotations

import hashlib
import struct
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from pydantic import Field

from yanmo.core.data import Prediction
from yanmo.core.errors import CorruptError, DataError
from yanmo.core.extras import needed
from yanmo.core.messages import text
from yanmo.models.base import ModelPart
from yanmo.models.families.family import needs
from yanmo.text import tags
from yanmo.text.units import UNSPACED, units

if TYPE_CHECKING:
    from yanmo.tasks.ner import Ner

FILE = "model.crfsuite"
HEADER = struct.Struct("<4sI4sI8I")  # magic, size, type, version, numbers of features, labels, attributes, five offsets


class CrfModel(ModelPart):
    """A conditional random field over the words or characters around each place: the baseline for named entities."""

    tasks: ClassVar[tuple[str, ...]] = ("ner",)

    type: str = "crf"
    c1: float = Field(0.0, ge=0, description="weight of the L1 penalty")
    c2: float = Field(0.1, ge=0, description="weight of the L2 penalty")
    iterations: int = Field(100, ge=1, description="of L-BFGS at most; it stops where a step gains little")
    min_count: int | None = Field(None, ge=1, description="places that a feature must occur at; null: 2, or 1 below 2,000 texts")

    def fit_task(self, task: Ner) -> CrfTagger:
        """A tagger with the task's tags, from its training texts. DataError without any."""
        crfsuite = needed("pycrfsuite", "tasks", "crf")
        examples = task.load("train")
        if not examples:
            raise DataError(text("the training texts"), text("some labelled texts"), text("none"))
        trainer = crfsuite.Trainer(algorithm="lbfgs", verbose=False)
        least = self.min_count or (2 if len(examples) >= 2000 else 1)
        trainer.set_params({"c1": self.c1, "c2": self.c2, "max_iterations": self.iterations, "feature.minfreq": least})
        for example in examples:
            content = example.fields["text"]
            places = units(content)
            spans = [(span.start, span.end, span.label) for span in example.fields["spans"]]
            if places:
                trainer.append(crfsuite.ItemSequence(list(described(content, places))), tags.marked(places, spans, task.scheme))
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / FILE
            trainer.train(str(path))
            return CrfTagger(task.names(), path.read_bytes())


class CrfTagger:
    """A fitted field: `labels` are the tags, `content` CRFsuite's file."""

    family = "yanmo_crf"
    context = None

    def __init__(self, labels: list[str], content: bytes):
        self.labels, self.content = labels, content
        self.tagger = needed("pycrfsuite", "tasks", "crf").Tagger()
        self.tagger.open_inmemory(content)
        self.known = set(self.tagger.labels())

    def tag(self, texts: Sequence[str]) -> list[Prediction]:
        """The entities of each text. `score`: the mean probability of its tags."""
        return [self._one(content) for content in texts]

    def _one(self, content: str) -> Prediction:
        from yanmo.tasks.ner import spans_of

        crfsuite = needed("pycrfsuite", "tasks", "crf")
        places = units(content)
        if not places:
            return Prediction(content)
        self.tagger.set(crfsuite.ItemSequence(list(described(content, places))))
        found = self.tagger.tag()
        score = float(np.mean([self.tagger.marginal(tag, index) for index, tag in enumerate(found)]))
        return Prediction(content, score=score, spans=spans_of(content, places, found))


class CrfFamily:
    """Conditional random fields: CRFsuite's file, and its sha256 and the tags in config.json."""

    def write(self, model: CrfTagger, folder: Path) -> dict[str, Any]:
        (folder / FILE).write_bytes(model.content)
        return {"architectures": ["YanmoCrfForTokenClassification"], "model_type": model.family,
                "sha256": hashlib.sha256(model.content).hexdigest(),
                "id2label": {str(number): label for number, label in enumerate(model.labels)}}  # fmt: skip

    def read(self, folder: Path, config: dict[str, Any]) -> CrfTagger:
        """CorruptError where the file is not the one that was saved, or its tags are not those of the config."""
        needs(config, str(folder / "config.json"), "id2label", "sha256")
        path = folder / FILE
        if not path.is_file():
            raise DataError(str(folder), text("a model directory"), text("no {name} in it", name=FILE))
        content = path.read_bytes()
        labels = [config["id2label"][str(number)] for number in range(len(config["id2label"]))]
        if hashlib.sha256(content).hexdigest() != config["sha256"] or not sound(content):
            raise CorruptError(str(path), text("the file that was saved"), text("another: its sha256 is not that of config.json"))
        model = CrfTagger(labels, content)
        if not model.known <= set(labels):
            strange = ", ".join(sorted(model.known - set(labels))[:6])
            raise CorruptError(str(path), text("the tags of config.json"), strange)
        return model


def sound(content: bytes) -> bool:
    """Whether the bytes begin and measure as a CRFsuite file: its reader trusts what it finds."""
    if len(content) < HEADER.size:
        return False
    magic, size, kind, _, *_, = HEADER.unpack_from(content)
    return magic == b"lCRF" and kind == b"FOMC" and size == len(content)


# ---------------------------------------------------------------------------------------------- features


def described(content: str, places: Sequence[tuple[int, int]]) -> Iterator[list[str]]:
    """The features of each unit. `-1` is the unit before, `|` joins two; kinds and shapes say what a unit is made of."""
    words = [content[start:end].lower() for start, end in places]
    shapes = [shape(content[start:end]) for start, end in places]
    w = ["<s>", "<s>", *words, "</s>", "</s>"]
    s = ["<s>", "<s>", *shapes, "</s>", "</s>"]
    for i in range(2, len(words) + 2):
        word = w[i]
        found = [
            "1", f"0={word}", f"-1={w[i - 1]}", f"+1={w[i + 1]}", f"-2={w[i - 2]}", f"+2={w[i + 2]}",
            f"-1|0={w[i - 1]}|{word}", f"0|+1={word}|{w[i + 1]}",
            f"s={s[i]}", f"s-1|0|+1={s[i - 1]}|{s[i]}|{s[i + 1]}",
        ]  # fmt: skip
        if s[i] == HAN:
            found += [f"-2|-1={w[i - 2]}|{w[i - 1]}", f"+1|+2={w[i + 1]}|{w[i + 2]}", f"-1|+1={w[i - 1]}|{w[i + 1]}",
                      f"-1|0|+1={w[i - 1]}|{word}|{w[i + 1]}"]  # fmt: skip
        else:
            found += [f"s-1={s[i - 1]}", f"s+1={s[i + 1]}", f"s0|+1|+2={s[i]}|{s[i + 1]}|{s[i + 2]}",
                      f"s-2|-1|0={s[i - 2]}|{s[i - 1]}|{s[i]}"]  # fmt: skip
            for size in range(1, 5):
                if len(word) > size:
                    found += [f"begins={word[:size]}", f"ends={word[-size:]}"]
            if places[i - 2][0] == 0 or not content[places[i - 2][0] - 1].isspace():
                found.append("joined")  # to what stands before it
        yield found


HAN = "c"


def shape(word: str) -> str:
    """What a unit is made of, runs written once: 'London' Xx, 'U.S' X.X, '3-2' d-d, '中' c, '😀' *."""
    found = ""
    for character in word:
        if character >= "\u3040" and _unspaced(character):
            part = HAN
        elif character.isdigit():
            part = "d"
        elif character.isalpha():
            part = "X" if character.isupper() else "x"
        else:
            part = character if character.isascii() or (not character.isalnum() and character < "\u3000") else "*"
        if not found.endswith(part):
            found += part
    return found


_RANGES = [(ord(UNSPACED[i]), ord(UNSPACED[i + 2])) for i in range(0, len(UNSPACED), 3)]  # "a-b" side by side


def _unspaced(character: str) -> bool:
    code = ord(character)
    return any(low <= code <= high for low, high in _RANGES)
