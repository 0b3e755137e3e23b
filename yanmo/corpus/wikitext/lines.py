"""The lines of wikitext once nothing within them is marked up: headings, list items, sections, paragraphs."""

from __future__ import annotations

import re


def lines(text: str, sections: frozenset[str]) -> str:
    """Paragraphs and headings divided by a blank line, list items by a line end.

    Sections whose casefolded heading is in `sections` go, with all below them, and headings with nothing below them.
    Rows of a table that was never closed go too, and lines that begin with '|', which no prose does."""
    out: list[str] = []
    waiting: list[tuple[int, str]] = []  # headings with nothing below them yet
    dropped = 0  # the level of the section that is being left out, 0 for none
    rows = "\n{|" in text or text.startswith("{|")
    gap = False
    for line in text.split("\n"):
        line = line.strip()
        if not line:
            gap = True
            continue
        first = line[0]
        if first == "=":
            level, title = _heading(line)
            if level:
                if dropped and level > dropped:
                    continue
                dropped = level if title.casefold().rstrip(":：") in sections else 0
                while waiting and waiting[-1][0] >= level:
                    waiting.pop()
                if not dropped and title:
                    waiting.append((level, title))
                continue
        if dropped:
            continue
        if first in MARKS:
            if first in "*#:;":
                line = line.lstrip("*#:; \t\u3000")
            elif first == "-":
                line = line.lstrip("-").lstrip() if line.startswith("----") else line
            elif first == "|" or (rows and (first == "!" or line.startswith("{|"))):
                continue
            if not line:
                continue
        if len(line) < 8 and RESIDUE.fullmatch(line):
            continue
        if waiting:
            for _, title in waiting:
                out += ["", title]
            waiting.clear()
            gap = True
        if gap:
            out.append("")
            gap = False
        out.append(line)
    return "\n".join(out).strip("\n")


MARKS = frozenset("*#:;|!{-")
RESIDUE = re.compile(r"[ ,.;:+=()（），。；：、-]+")  # what stood around a formula that had a line to itself


def _heading(line: str) -> tuple[int, str]:
    """(level, title) of `== title ==`; level 0 for a line that only begins like one."""
    left, right = len(line) - len(line.lstrip("=")), len(line) - len(line.rstrip("="))
    level = min(left, right, 6) if left < len(line) else 0
    return level, line[level : len(line) - level].strip() if level else ""
