"""Personal data is found and taken out: masked, replaced by consistent pseudonyms, or the document dropped with it.

What a dropped document held is masked in the record of it, so that neither the list of what was dropped nor the page that
shows examples gives it away. Identifiers are proved by their check digits, telephone numbers by their numbering plans, and
versions, dates, ISBNs and prices left alone: `yanmo/corpus/pii/` has a file for each family.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Literal, Self

from pydantic import Field, model_validator

from yanmo.core.data import Document, Rejection
from yanmo.core.errors import DataError, RecipeError, nearest
from yanmo.core.extras import needed
from yanmo.core.messages import text
from yanmo.corpus.pii.gate import together
from yanmo.corpus.pii.pseudonyms import pseudonyms
from yanmo.corpus.pii.scanner import Scanner, scanner
from yanmo.corpus.pii.span import KINDS, Span
from yanmo.corpus.step import Edit

Action = Literal["mask", "pseudonym", "drop", "keep"]
ROUNDS = 6  # taking one thing out may bring another within reach of the word that names it
# Where a mask will stand: it must not be taken for what it hides.
PLACES = ("https://{}@example.org/", "https://example.org/?password={0}&token={0}", "password: {}", "passport no. {}", "tel. {}",
          "{}")  # fmt: skip


class Pii(Edit):
    """Finds personal data and masks it, replaces it by pseudonyms, or drops the document.

    `action`: for every kind ('mask', 'pseudonym', 'drop', 'keep': counts only); `actions`: for single kinds;
    `kinds`: what is looked for (default: all); `fields`: the row's other fields that are treated like the text;
    `regions`: countries whose telephone numbers are known without their code; `template`: what a mask looks like;
    `seed`, and `secret` or the bytes of `secret_file`: the key of the pseudonyms, without which nobody can tell whose they
    are. The recipe is kept with the run, so a secret is better in a file.
    The counts go to `meta["pii"]`. A document is dropped with the first of the kinds found that are to be dropped.
    """

    type: str = "pii"
    action: Action = "mask"
    actions: dict[str, Action] = Field(default_factory=dict)
    kinds: list[str] = Field(default_factory=lambda: list(KINDS))
    fields: list[str] = Field(default_factory=list)
    regions: list[str] = Field(default_factory=lambda: ["US", "GB", "CN"])
    template: str = "<{kind}>"
    seed: int = Field(default=0, ge=0, lt=2**64)
    secret: str = ""
    secret_file: str | None = None

    @model_validator(mode="after")
    def _known(self) -> Self:
        for kind in (*self.kinds, *self.actions):
            if kind not in KINDS:
                known = text("known kinds of personal data, not '{kind}'", kind=kind)
                raise ValueError(f"{known} - {nearest(kind, KINDS)}")
        missing = [kind for kind in self.actions if kind not in self.kinds]
        if missing:
            raise ValueError(str(text("'{kind}' among the kinds that are looked for", kind=missing[0])))
        if not self.kinds:
            raise ValueError(str(text("at least one kind of personal data")))
        if self.secret and self.secret_file:
            raise ValueError(str(text("one of secret and secret_file")))
        try:
            self.template.format(kind="EMAIL")
        except (KeyError, IndexError, ValueError, AttributeError):
            raise ValueError(str(text("a template with {{kind}} and no other name in braces"))) from None
        return self

    def files(self) -> list[Path]:
        return [self._secret_path()] if self.secret_file else []

    def check(self) -> None:
        """RequestError where a library is missing, a region unknown or a mask would be taken for personal data itself."""
        needed("re2", "corpus", self.type)
        needed("stdnum", "corpus", self.type)
        known = needed("phonenumbers", "corpus", self.type).SUPPORTED_REGIONS
        for region in self.regions:
            if region not in known:
                expected = text("two-letter codes of countries")
                raise RecipeError(f"{self.type}.regions", expected, repr(region), nearest(region, known))
        self._key()
        found = self._scanner()
        for kind in self.kinds:
            mask = self._mask(kind)
            for place in PLACES:
                if any(span.value in mask or mask in span.value for span in found.find(place.format(mask))):
                    expected = text("a mask that is not taken for personal data itself")
                    raise RecipeError(f"{self.type}.template", expected, repr(mask))

    def rows(self, docs: Iterator[Document]) -> Iterator[Document]:
        found = self._scanner()
        for held in together(docs):
            asked = [doc for doc in held if doc.rejection is None]
            for doc, suspect in zip(asked, found.among([doc.text for doc in asked])):
                if self.fields or suspect:
                    self._redact(doc, found)
            yield from held

    def edit(self, text: str) -> str:
        """The text without what is to be masked or replaced."""
        return self._without(text, self._scanner())[0]

    def _redact(self, doc: Document, found: Scanner) -> None:
        after, counts = self._without(doc.text, found)
        changed: dict[str, str] = {}
        for name in self.fields:
            if isinstance(doc.meta.get(name), str):
                changed[name], more = self._without(doc.meta[name], found)
                counts += more
        if not counts:
            return
        before = doc.meta.get("pii")
        merged = {**(before if isinstance(before, dict) else {}), **counts}
        doc.meta = {**doc.meta, **changed, "pii": {kind: merged[kind] for kind in sorted(merged)}}
        doc.text = after
        reason = next((kind for kind in KINDS if kind in counts and self._action(kind) == "drop"), None)
        if reason is not None:
            doc.rejection = Rejection(self.type, reason, counts[reason])
        elif not after or after.isspace():
            doc.rejection = Rejection(self.type, "empty", None)

    def _without(self, body: str, found: Scanner) -> tuple[str, Counter[str]]:
        """The text with masks and pseudonyms in it, and how many of each kind were found.

        A mask may bring another number within reach of the word that names it, so masking goes on until nothing is found;
        pseudonyms are given once, for what the text held as it was."""
        counts: Counter[str] = Counter()
        for round_ in range(ROUNDS):
            spans = found.find(body)
            if round_:
                spans = [span for span in spans if self._action(span.kind) in ("mask", "drop")]
            counts.update(span.kind for span in spans)
            changes = [span for span in spans if self._action(span.kind) != "keep"]
            if not changes:
                break
            pieces, end = [], 0
            for span in changes:
                pieces += [body[end : span.start], self._instead(span, body[span.start : span.end])]
                end = span.end
            body = "".join(pieces) + body[end:]
            if all(self._action(span.kind) == "pseudonym" for span in changes):
                break
        return body, counts

    def _instead(self, span: Span, written: str) -> str:
        if self._action(span.kind) == "pseudonym":
            return pseudonyms(self._key(), self.seed).replace(span.kind, written, span.value)
        return self._mask(span.kind)

    def _action(self, kind: str) -> Action:
        return self.actions.get(kind, self.action)

    def _mask(self, kind: str) -> str:
        return self.template.format(kind=kind.upper())

    def _scanner(self) -> Scanner:
        return scanner(tuple(self.kinds), tuple(self.regions))

    def _key(self) -> bytes:
        if self.secret_file is None:
            return self.secret.encode()
        return _content(self._secret_path())

    def _secret_path(self) -> Path:
        path = Path(self.secret_file or "").expanduser()
        if not path.is_file():
            raise DataError(f"{self.type}.secret_file", text("a file"), text("no such path: {path}", path=self.secret_file))
        return path


@cache
def _content(path: Path) -> bytes:
    return path.read_bytes()
