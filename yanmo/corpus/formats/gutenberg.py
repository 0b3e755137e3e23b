"""Where the book begins and ends in a text of Project Gutenberg: behind its header, in front of its footer and licence.

Told by the lines that every such file has: `*** START OF THE PROJECT GUTENBERG EBOOK …`, `*** END OF …` (with THIS for
THE, ETEXT for EBOOK, the title on two lines), before 2005 the end of the small print, and `End of Project Gutenberg's …`.
The lines are ASCII in every encoding that a line feed is one byte in, so bytes are looked at.
"""

from __future__ import annotations

import re

REACH = 64 << 10  # bytes at a file's front and at its end in which they are looked for; the licence has 19 KB

START = re.compile(
    rb"^[ \t]*\*{3}[ ]?START OF (?:THE |THIS )?PROJECT GUTENBERG[^*\r\n]{0,200}(?:\r?\n[^*\r\n]{1,100})?(?:\*{3})?[^\r\n]*\r?\n"
    rb"|^[ \t]*\*END[ *]{1,3}THE SMALL PRINT![^\r\n]*\r?\n",
    re.I | re.M,
)
END = re.compile(
    rb"^[ \t]*(?:\*{3}[ ]?END OF (?:THE |THIS )?PROJECT GUTENBERG"
    rb"|End of (?:the |this )?Project Gutenberg(?:'s|\xe2\x80\x99s|\x92s|[ \t]))",
    re.I | re.M,
)
BLANK = re.compile(rb"(?:[ \t\r]*\n)*")


def begins(front: bytes) -> int | None:
    """The byte at which the book begins, `front` being the file's first REACH bytes; None where it has no such header."""
    if b"UTENBERG" not in front and b"SMALL PRINT" not in front:
        return None
    ends = [found.end() for found in START.finditer(front)]
    if not ends:
        return None
    blank = BLANK.match(front, ends[-1])
    return blank.end() if blank else ends[-1]


def ends(tail: bytes) -> int | None:
    """How many of `tail`, the file's last REACH bytes, still belong to the book; None where it has no such footer."""
    if b"UTENBERG" not in tail and b"utenberg" not in tail:
        return None
    found = END.search(tail)
    if found is None:
        return None
    book = tail[: found.start()].rstrip()
    line = tail.find(b"\n", len(book))
    return min(line + 1, found.start()) if line >= 0 else len(book)
