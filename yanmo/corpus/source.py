"""Where documents come from: a path, cut into shards that are read independently.

A source yields one `Document` for each text, with its origin: the bytes of the file (or the row) it stands in. What
cannot be read (a broken line, an invalid byte, a number where text should be) is quarantined: it comes as a record with
its origin, an excerpt and the reason, is skipped by every step, counted, shown, and written beside the corpus.

A folder of data may say what it is: `SOURCE.yaml` (or `SOURCE`) with `title`, `language`, `licence` beside the files.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice, pairwise
from pathlib import Path
from typing import Any, ClassVar, Literal

from pydantic import Field, field_validator, model_validator

from yanmo.core.config import Part, describe
from yanmo.core.data import Document, Origin, Rejection, content_id
from yanmo.core.errors import DataError, WorkError, nearest
from yanmo.core.messages import text
from yanmo.core.paths import expand, locate, written

QUARANTINE = "quarantine"  # the step of a rejection that says: this row was never a document
SHARD_BYTES, LARGEST_SHARD = 1 << 20, 64 << 20
EVEN = 8
EXCERPT = 2000  # characters of a quarantined row that are kept
SPLITS = ("train", "validation", "test")
ABOUT = ("SOURCE.yaml", "SOURCE.yml", "SOURCE", "SOURCE.json")  # the last is what `yanmo data get` writes
LOOKED_AT = 100_000  # rows read in search of a field before it counts as missing everywhere


@dataclass(frozen=True, slots=True)
class Shard:
    """A piece of a file that one worker reads: [start, end) in bytes, or in rows where the format has rows.

    `file` is named as a record names it (`paths.written`). A plain line belongs to the shard in which it begins."""

    file: str
    member: str | None
    start: int
    end: int
    size: int = 0  # bytes to read, about
    whole: bool = False  # the file is one document
    stamp: tuple[int, int] = (-1, -1)  # the file's size and time of change (ns) when the shard was cut; filled in here

    def __post_init__(self) -> None:
        if self.stamp == (-1, -1):
            object.__setattr__(self, "stamp", _stamp(self.path))

    @property
    def path(self) -> Path:
        return locate(self.file)

    def check_unchanged(self) -> None:
        """WorkError where the file is no longer as it was when the shard was cut: what was read is neither old nor new."""
        now = _stamp(self.path)
        if now != self.stamp:
            sizes = text("{old} and then {new} bytes", old=self.stamp[0], new=now[0])
            changed = text("it was written to") if now[0] == self.stamp[0] else text("none") if now[0] < 0 else sizes
            raise WorkError(self.file, text("the file to stay as it is while it is read"), changed,
                            text("run the same command again when nothing writes there"))  # fmt: skip


def _stamp(path: Path) -> tuple[int, int]:
    try:
        status = path.stat()
    except OSError:
        return -1, -1
    return status.st_size, status.st_mtime_ns


class Source(Part):
    """`path`: a file, folder, glob, or {train: …, validation: …} of those, which then fixes the split."""

    path: str | dict[Literal["train", "validation", "test"], str]
    name: str = ""
    weight: float = Field(default=1.0, gt=0, allow_inf_nan=False)
    language: Literal["en", "zh"] | None = None
    licence: str | None = None

    endings: ClassVar[tuple[str, ...]] = ()
    costly: ClassVar[bool] = False  # reading takes longer than to write down what was read and read that again

    @model_validator(mode="before")
    @classmethod
    def _named(cls, data: Any) -> Any:
        if isinstance(data, dict) and not data.get("name"):
            path = data.get("path")
            first = next(iter(path.values()), "") if isinstance(path, dict) else path
            if isinstance(first, str):
                plain = [part for part in Path(first).parts if not set(part) & set("*?[") and part not in ("/", "..")]
                return {**data, "name": plain[-1] if plain else cls.__name__.removesuffix("Source").lower()}
        return data

    @field_validator("path")
    @classmethod
    def _has_path(cls, path: Any) -> Any:
        if not path or (isinstance(path, dict) and not all(path.values())):
            raise ValueError(str(text("a file, a folder or a glob")))
        return path

    def located(self) -> list[tuple[str | None, Path]]:
        """Each file with the split that its path fixes (None: by content), in the corpus's order. Never empty: DataError."""
        if isinstance(self.path, str):
            return [(None, file) for file in expand(self.path, self.endings)]
        return [(split, file) for split in SPLITS if split in self.path for file in expand(self.path[split], self.endings)]

    def files(self) -> list[Path]:
        """Every file that the corpus depends on: the data and what is said about it."""
        about = self._about_file()
        return [file for _, file in self.located()] + ([about] if about else [])

    def shards(self) -> list[Shard]:
        """The pieces to read, in order: none above 64 MiB unless the format cannot be cut."""
        raise NotImplementedError

    def documents(self, shard: Shard) -> Iterator[Document]:
        """The shard's documents and quarantined rows, in order."""
        raise NotImplementedError

    def read(self, shard: Shard, after: int = 0) -> Iterator[Document]:
        """What `documents` gives, from record number `after` on; WorkError where the file changed meanwhile."""
        try:
            yield from islice(self.documents(shard), after, None)
        except FileNotFoundError:
            shard.check_unchanged()
            raise
        shard.check_unchanged()

    def about(self) -> dict[str, Any]:
        """{"title", "licence", "language"}: from the settings, else from SOURCE beside the data, else None.

        The language is 'en' or 'zh'; data in both, or in another one, have none of their own."""
        found: dict[str, Any] = {}
        file = self._about_file()
        if file is not None:
            import yaml

            try:
                found = yaml.safe_load(file.read_text(encoding="utf-8"))
            except (yaml.YAMLError, UnicodeDecodeError) as error:
                if file.suffix:
                    raise DataError(str(file), text("valid YAML"), " ".join(str(error).split())) from None
                found = {}  # a file of that name may hold anybody's prose
            if not isinstance(found, dict) and not file.suffix:
                found = {}
            if not isinstance(found, dict):
                raise DataError(str(file), text("a mapping with 'title', 'language', 'licence'"), describe(found))
        said = {key: found[key] if isinstance(found.get(key), str) else None for key in ("title", "licence")}
        tags = found.get("language", found.get("languages"))
        tags = tags if isinstance(tags, list) else [tags]
        known = {str(tag).partition("-")[0].lower() for tag in tags} & {"en", "zh"}  # 'zh-Hans' is zh
        language = self.language or (known.pop() if len(known) == len(tags) == 1 else None)
        return {**said, "language": language, "licence": self.licence or said["licence"]}

    def check(self) -> None:
        """DataError unless some row can be read and has the field; looks no further than the first such row."""
        self.about()
        fields: dict[str, None] = {}
        lacking, broken, rows = None, None, 0
        for shard in self.shards():
            for doc in self.documents(shard):
                reason = doc.rejection.reason if doc.rejection else None
                if reason == "missing_field":
                    lacking = lacking or doc
                    fields |= dict.fromkeys(doc.meta["fields"])
                elif reason in UNREADABLE:
                    broken = broken or doc
                elif reason != "empty_file":
                    return
                rows += reason != "empty_file"
                if rows >= LOOKED_AT:
                    break
            if rows >= LOOKED_AT:
                break
        shown = self.path if isinstance(self.path, str) else next(iter(self.path.values()))
        if lacking is not None:
            wanted = str(lacking.rejection.value)  # type: ignore[union-attr]
            close = nearest(wanted, fields)
            where = lacking.origin.file + (f":{lacking.meta['line']}" if "line" in lacking.meta else "")
            raise DataError(where, text("a field '{name}'", name=wanted),
                            text("the fields {names} in each of {rows} rows", names=", ".join(sorted(fields)) or "-", rows=rows),
                            text("{hint} Set fields: {{text: NAME}} to the one that holds the text", hint=close))  # fmt: skip
        if broken is not None:
            assert broken.rejection is not None
            where = broken.origin.file + (f":{broken.meta['line']}" if "line" in broken.meta else "")
            raise DataError(where, self.expects(), str(broken.rejection.value or broken.rejection.reason), self.advice(broken))
        raise DataError(shown, text("some text"), text("only empty files"))

    def expects(self) -> Any:
        """What a readable file of this source looks like, for messages."""
        return text("UTF-8 text")

    def advice(self, broken: Document) -> Any:
        return None

    def quarantined(
        self, raw: bytes | str, origin: Origin, reason: str, value: float | str | None = None, **meta: Any
    ) -> Document:
        """The record of a row that cannot be read."""
        excerpt = raw[: 4 * EXCERPT].decode("utf-8", "replace") if isinstance(raw, bytes) else raw
        excerpt = excerpt[:EXCERPT].encode("utf-8", "replace").decode("utf-8")
        return Document(content_id(excerpt), excerpt, origin, self.name, meta, Rejection(QUARANTINE, reason, value))

    def _about_file(self) -> Path | None:
        first = self.located()[0][1]
        root = locate(self.path if isinstance(self.path, str) else next(iter(self.path.values())))
        folders = [first.parent, *([root] if root.is_dir() else [])]
        return next((folder / name for folder in folders for name in ABOUT if (folder / name).is_file()), None)


UNREADABLE = frozenset({"bad_json", "not_an_object", "bad_row", "bad_file", "bad_gzip", "truncated_gzip", "bad_bz2",
                        "truncated_bz2", "bad_xz", "truncated_xz", "bad_zstd", "truncated_zstd", "bomb", "bad_archive",
                        "truncated_archive", "no_text_inside", "encrypted", "bad_page", "page_without_end", "page_too_long",
                        "no_pages", "invalid_encoding", "line_too_long", "bad_record", "truncated_record"})  # fmt: skip


class RowSource(Source):
    """A source of rows with named fields, one of which holds the text; the others stay with the document as `meta`.

    `fields` says which field of the file is ours: `{text: body, id: url}`."""

    fields: dict[Literal["text", "id"], str] = Field(default_factory=dict)

    def document(self, row: dict[str, Any], origin: Origin, raw: bytes | str, **place: Any) -> Document:
        """The row's document, or its quarantine; `raw` is what is shown of it, `place` (line=…) where it stands."""
        wanted = self.fields.get("text", "text")
        if wanted not in row:
            return self.quarantined(raw, origin, "missing_field", wanted, fields=[str(key) for key in row], **place)
        body = row[wanted]
        if body is None:
            return self.quarantined(raw, origin, "null_text", None, **place)
        if not isinstance(body, str):
            return self.quarantined(raw, origin, "wrong_type", type(body).__name__, **place)
        if not body or body.isspace():
            return self.quarantined(raw, origin, "empty_text", None, **place)
        try:
            body.encode("utf-8")
        except UnicodeEncodeError as error:  # half of a surrogate pair, which no encoding can hold
            return self.quarantined(raw, origin, "lone_surrogate", error.start, **place)
        meta = {key: value for key, value in row.items() if key != wanted}
        given = self.fields.get("id")
        if given in meta:
            meta = {**meta, "id": meta[given]}
            meta = {key: value for key, value in meta.items() if key != given or key == "id"}
        return Document(content_id(body), body, origin, self.name, meta)


def written_shards(file: Path, size: int, member: str | None = None, *, cut: bool = True) -> list[Shard]:
    """A file's byte ranges, all about equal: of about SHARD_BYTES and more, at most 256 up to 16 GiB; one where it cannot be
    cut. Between EVEN and 8 EVEN they are a multiple of EVEN, so that two, four or eight workers are done at the same time."""
    name = written(file)
    step = min(max(SHARD_BYTES, size // 256), LARGEST_SHARD)
    count = max(size // step, 1) if cut else 1
    if EVEN < count < 8 * EVEN:
        count += -count % EVEN
    edges = [i * size // count for i in range(count + 1)]
    return [Shard(name, member, start, end, end - start) for start, end in pairwise(edges)]
