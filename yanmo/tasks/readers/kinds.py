"""In which format a file with entities is, where the recipe does not say: by its ending, of a .txt by what stands in it."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from yanmo.core.errors import DataError
from yanmo.core.messages import text
from yanmo.core.paths import written
from yanmo.text.tags import parsed

Format = Literal["spans", "columns", "brat", "word_tags"]
ENDINGS: dict[str, Format] = {
    ".jsonl": "spans", ".ndjson": "spans", ".json": "spans", ".ann": "brat",
    ".conll": "columns", ".bio": "columns", ".iob": "columns", ".iob2": "columns", ".bioes": "columns", ".bmes": "columns",
    ".tsv": "columns",
}  # fmt: skip
PLAIN = ".txt"
PROBE = 1 << 16  # bytes of a .txt that are looked at


def format_of(path: Path) -> Format | None:
    """The format; None for a text that stands beside its annotations (brat). DataError where nobody can tell."""
    known = ENDINGS.get(path.suffix.lower())
    if known is not None:
        return known
    if path.suffix.lower() == PLAIN and path.with_suffix(".ann").is_file():
        return None
    with open(path, "rb") as handle:
        content = handle.read(PROBE)
    lines = [line.split() for line in content.decode("utf-8-sig", "replace").split("\n")[:200] if line.strip()]
    whole = lines[:-1] if len(content) == PROBE else lines
    if whole:
        if all(len(cells) > 1 and parsed(cells[-1]) is not None for cells in whole):
            return "columns"
        if all(0 < cell.rfind("/") < len(cell) - 1 for cells in whole for cell in cells):
            return "word_tags"
    expected = text("a token and its tag a line, or words with a tag each (word/tag)")
    raise DataError(written(path), expected, text("neither"), text("say which it is with 'format:'"))
