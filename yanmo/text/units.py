"""What a text is made of for models that read no tokens: words where spaces part them, characters where none do."""

from __future__ import annotations

import re

# Written without spaces between words: kana, Han with its extensions.
UNSPACED = "\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"
_LETTER = rf"[^\W{UNSPACED}][\u0300-\u036f\ufe0f]*"
# Letters and digits with what joins them (U.S, don't, 3.14, e-mail), a # or @ before them; else a single character.
_OTHER = "[^\\s\u0300-\u036f][\u0300-\u036f\ufe0f\u200d]*|[\u0300-\u036f]+"
UNIT = re.compile(rf"[#@]?(?:{_LETTER})+(?:['’\-.&](?:{_LETTER})+)*|{_OTHER}")


def units(content: str) -> list[tuple[int, int]]:
    """The places [start, end) of the text's words and other characters, in order; white space is between them. Marks that
    combine stay with what they stand on."""
    return [match.span() for match in UNIT.finditer(content)]
