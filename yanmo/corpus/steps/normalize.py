"""One way of writing what looks the same: Unicode NFC, line ends, control characters, blank space.

NFC and not NFKC: the compatibility forms would turn Chinese full-width punctuation (，！（）) into ASCII. The ideographic
space U+3000, which indents Chinese paragraphs, the zero-width space that divides Thai and Khmer words, and the joiners
that hold emoji and Indic or Persian letters together are left alone.
"""

from __future__ import annotations

import re
import unicodedata

from pydantic import Field

from yanmo.corpus.step import Edit

# C0 and C1 controls but \t and \n, and marks that are no text: byte order mark, soft hyphen, direction overrides, U+FFFE/F.
CONTROLS = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x84\x86-\x9f\u00ad\u202a-\u202e\u2066-\u2069\ufeff\ufffe\uffff]")
LINE_ENDS = re.compile("\r\n|[\r\x85\u2028\u2029]")
TRAILING = re.compile(r"[ \t]+(?=\n|\Z)")
SPACES = re.compile("[\u00a0\u2000-\u200a\u202f\u205f]")  # no-break and typographic spaces; not U+3000


class Normalize(Edit):
    """Unicode NFC, line ends, control characters, blank space: one way of writing what looks the same.

    `blank_lines`: how many may follow each other; `strip`: no blank lines before or behind the text."""

    type: str = "normalize"
    blank_lines: int = Field(default=1, ge=0)
    strip: bool = True

    def edit(self, text: str) -> str:
        text = LINE_ENDS.sub("\n", text)
        if not text.isascii():
            text = unicodedata.normalize("NFC", SPACES.sub(" ", CONTROLS.sub("", text)))
        else:
            text = CONTROLS.sub("", text)
        text = TRAILING.sub("", text)
        text = re.sub(f"\n{{{self.blank_lines + 2},}}", "\n" * (self.blank_lines + 1), text)
        return text.strip("\n") if self.strip else text
