"""A folder a label, a file a text: how 20 Newsgroups, movie reviews and many a collection of one's own lie on the disk.

    news/train/sci.space/60191    news/test/rec.autos/103044          split by the publisher ('20news-bydate-train' too)
    news/sci.space/60191          news/rec.autos/103044               carved by content

Newsgroup postings and mails betray their label outside of what was written: in their headers (who, where), signatures and
quotations. `strip` takes those off, as scikit-learn's `fetch_20newsgroups(remove=…)` defines them.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Literal

from pydantic import Field

from yanmo.core.errors import DataError
from yanmo.core.messages import text
from yanmo.core.paths import locate, written
from yanmo.tasks.layouts.layout import Layout
from yanmo.tasks.records import Record

SPLITS = {"train": r"(?:.*[-_.])?train(?:ing)?", "validation": r"(?:.*[-_.])?(?:valid(?:ation)?|dev)",
          "test": r"(?:.*[-_.])?test"}  # fmt: skip
QUOTING = re.compile(r"(writes in|writes:|wrote:|says:|said:|^In article|^Quoted from|^\||^>)")


class Folders(Layout):
    """A folder a label and a file a text, as 20 Newsgroups; with train and test folders above where there are such.

    `encoding` of the files. `strip`: what is taken off each text: 'headers' (all before the first empty line), 'footers' (the
    last block of lines behind an empty one, or one of dashes), 'quotes' (lines that look quoted, or say who is). A text of
    which nothing is left is left out.
    """

    type: str = "folders"
    encoding: str = Field("utf-8", description="20 Newsgroups is latin-1")
    strip: list[Literal["headers", "footers", "quotes"]] = Field(default_factory=list)

    def files(self, path: str | dict[str, str]) -> dict[str, list[Path]]:
        if isinstance(path, dict):
            return {split: _texts(locate(path[split]), path[split]) for split in SPLITS if split in path}
        place = locate(path)
        if not place.is_dir():
            raise DataError(path, text("a folder with a folder for each label"), text("no such folder"))
        below = [folder for folder in sorted(place.iterdir()) if folder.is_dir() and not folder.name.startswith(".")]
        found = {split: [f for f in below if re.fullmatch(pattern, f.name, re.IGNORECASE)] for split, pattern in SPLITS.items()}
        if found["train"] and found["test"] and all(any(f in group for group in found.values()) for f in below):
            return {split: [file for folder in folders for file in _texts(folder, path)]
                    for split, folders in found.items() if folders}  # fmt: skip
        return {"train": _texts(place, path)}

    def records(self, file: Path) -> Iterator[Record]:
        where = written(file)
        try:
            content = file.read_bytes().decode(self.encoding)
        except UnicodeDecodeError as error:
            raise DataError(where, text("{encoding} text", encoding=self.encoding), str(error),
                            text("set 'encoding' to what the files are in, such as latin-1 or gb18030")) from None  # fmt: skip
        except LookupError:
            raise DataError("layout.encoding", text("an encoding"), self.encoding) from None
        content = stripped(content.replace("\r\n", "\n").removeprefix("\ufeff"), self.strip)
        if content.strip() or not self.strip:
            yield Record(where, {"text": content, "label": file.parent.name})


def _texts(folder: Path, path: str) -> list[Path]:
    found = [file for file in sorted(folder.glob("*/*")) if file.is_file() and not file.name.startswith(".")]
    if not found:
        given = text("no files two levels below {path}", path=str(folder))
        raise DataError(path, text("a folder with a folder for each label"), given)
    return found


def stripped(content: str, what: Sequence[str]) -> str:
    """The text without `what`."""
    if "headers" in what:
        content = content.partition("\n\n")[2]
    if "footers" in what:
        rows = content.strip().split("\n")
        last = next((n for n in range(len(rows) - 1, -1, -1) if not rows[n].strip().strip("-")), 0)
        content = "\n".join(rows[:last]) if last > 0 else content
    if "quotes" in what:
        content = "\n".join(row for row in content.split("\n") if not QUOTING.search(row))
    return content
