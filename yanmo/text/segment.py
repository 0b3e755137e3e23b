"""A text as words and back, for what works word by word: Chinese by jieba, other scripts at blanks and punctuation.

`words` drops the blanks; `spaced` puts them back as each language has them: none around Chinese, none before a comma.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence

from yanmo.core.extras import needed
from yanmo.text.metrics.rouge import ALONE

LETTERS = r"[^\W\d_]"
MARK = "[\u0300-\u036f\u200d\ufe0f]"
WORD = re.compile(rf"(?:{LETTERS}{MARK}*)+(?:['’-](?:{LETTERS}{MARK}*)+)*|\d+(?:[.,:]\d+)*|(?:[^\w\s]|_){MARK}*")
BEFORE, BEHIND = frozenset(",.;:!?)]}%…’”"), frozenset("([{$#“‘")  # no blank before, none behind


def unspaced(language: str) -> bool:
    """Whether it is written without blanks between words."""
    return language.lower().partition("-")[0] in ("zh", "ja", "yue", "lzh", "wuu")


def words(content: str, language: str, where: str = "words") -> list[str]:
    """The words of a text in `language`. RequestError where Chinese is to be divided and the library for it is missing."""
    content = unicodedata.normalize("NFC", content)
    if not unspaced(language):
        return WORD.findall(content)
    cut = needed("rjieba", "tasks", where).cut
    found: list[str] = []
    for piece in cut(content):
        found += [piece] if ALONE.match(piece) else WORD.findall(piece)
    return found


def spaced(pieces: Sequence[str]) -> str:
    """Words as a text."""
    made = ""
    for piece in pieces:
        if made and piece and not (_closed(made[-1]) or _closed(piece[0]) or piece[0] in BEFORE or made[-1] in BEHIND):
            made += " "
        made += piece
    return made


def _closed(character: str) -> bool:
    """Whether no blank stands beside it: Chinese characters, and punctuation as wide as those."""
    return bool(ALONE.match(character)) or "\u3000" <= character <= "\u303f" or "\uff00" <= character <= "\uffef"
