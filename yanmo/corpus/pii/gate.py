"""Many texts in wide scripts, shrunk to what the scanner's automaton has to read of them.

Of Chinese prose hardly a character is one that any pattern mentions, and each takes three bytes of UTF-8. So a table turns
every character into one byte, what folds to a sign or a digit into that (`span.fold`), and a run of characters that no
pattern mentions into a single one. What is found in the text is found in what is left of it, and a little more: a text that
stops the automaton here is read again as it is.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import numpy as np

from yanmo.core.data import Document
from yanmo.corpus.pii.span import FOLDED

TOGETHER = 1 << 15  # characters of texts that are shrunk at once
LOOKED_AT = 8  # characters of a text by which its script is told
WIDE = "\u2e80"  # scripts from here on take three bytes a character

END, OTHER, FAR, WORD = range(4)  # between two texts; what no pattern mentions; what the table cannot know; of a word below
WORDS = "密码碼口令钥鑰秘牌"  # of which the words for secrets are made
# Such a word and what may follow it; 是 and 为 are among the others.
SAID = rf"\x0{WORD}\x0{WORD}[\"'`*]{{0,3}} ?(?:[:=\x0{OTHER}]| is )|\x0{FAR}"

TABLE = np.full(1 << 16, OTHER, np.uint8)
TABLE[WORD + 1 : 0x80] = np.arange(WORD + 1, 0x80)
TABLE[[point for point in FOLDED if point < len(TABLE)]] = [ord(sign) for point, sign in FOLDED.items() if point < len(TABLE)]
TABLE[[ord(letter) for letter in "【】\u017f\u212a"]] = [ord(letter) for letter in "[]sk"]  # two where case is ignored
TABLE[[ord(letter) for letter in WORDS]] = WORD
TABLE[0xD800:0xE000] = FAR  # half a surrogate pair
TABLE[[0, len(TABLE) - 1]] = END, FAR  # whatever lies behind the table is taken for its last


def wide(text: str) -> bool:
    """Whether a text of no great length is likely to be Chinese, or in another script that far from ASCII."""
    return not text.isascii() and len(text) <= TOGETHER and max(text[:: len(text) // LOOKED_AT + 1]) >= WIDE


def shrunk(texts: Sequence[str]) -> bytes:
    """What is left of the texts, with END between them."""
    whole = "\0".join(texts)
    signs = TABLE.take(np.array([whole]).view(np.uint32), mode="clip")
    left = signs != OTHER
    left[1:] |= left[:-1]  # one of a run stays, so that what stands on its two sides does not touch
    return signs[left].tobytes()


def together(docs: Iterable[Document]) -> Iterator[list[Document]]:
    """Documents in lists of about TOGETHER characters."""
    held: list[Document] = []
    size = 0
    for doc in docs:
        if held and size + len(doc.text) > TOGETHER:
            yield held
            held, size = [], 0
        held.append(doc)
        size += len(doc.text) + 1
    if held:
        yield held
