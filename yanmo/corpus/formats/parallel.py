"""Parallel text: one document a pair of a sentence and its translation, for the sources that read such."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from yanmo.core.data import Document, Origin, content_id
from yanmo.corpus.source import Source


class PairSource(Source):
    """`side`: which text the document is: 'source', 'target', or 'both', one below the other. The pair is in its meta, with
    `languages` ({source: en, target: zh}) where they are said; the document's language is that of its side."""

    side: Literal["source", "target", "both"] = "both"
    languages: dict[Literal["source", "target"], str] = Field(default_factory=dict)

    def pair(self, source: str, target: str, origin: Origin, raw: bytes | str, spoken: dict[str, str], **meta: Any) -> Document:
        """The pair's document; quarantined where the side that is wanted is empty. `meta` without None goes with it."""
        meta = {key: value for key, value in meta.items() if value is not None}
        for name, body in (("source", source), ("target", target)):
            if self.side in (name, "both") and (not body or body.isspace()):
                return self.quarantined(raw, origin, "empty_text" if name == "source" else "untranslated", None, **meta)
        body = {"source": source, "target": target}.get(self.side, f"{source}\n{target}")
        try:
            body.encode("utf-8")
        except UnicodeEncodeError as error:
            return self.quarantined(raw, origin, "lone_surrogate", error.start, **meta)
        said = spoken | {str(name): tag for name, tag in self.languages.items()}
        meta = {"source": source, "target": target, **({"languages": said} if said else {}), **meta}
        if self.side in said:
            meta["language"] = said[self.side].replace("_", "-").partition("-")[0].lower()
        return Document(content_id(body), body, origin, self.name, meta)
