"""A text as its sentences, English and Chinese: behind 。！？… and their closing marks, behind . ! ? before a blank, and at
the end of a line (`spelling.sentence_ends` knows abbreviations and initials)."""

from __future__ import annotations

from yanmo.text.spelling import sentence_ends


def sentences(content: str) -> list[str]:
    """The sentences in their order, without the blanks around them; together they hold every other character."""
    found, start = [], 0
    for end in (*sentence_ends(content), len(content)):
        if piece := content[start:end].strip():
            found.append(piece)
        start = end
    return found


def joined(chosen: list[str]) -> str:
    """Sentences as one text: a blank between two, none behind a Chinese mark."""
    made = ""
    for piece in chosen:
        made += piece if not made or made[-1] in "。！？…”」』）》" else f" {piece}"
    return made
