"""C4's rules (Raffel et al. 2020): lines that are no sentences are taken out, pages of code and filler dropped.

Line by line, in this order: a line with a very long word goes; citations of Wikipedia are cut out; a line that does not
end like a sentence, or has too few words, goes; "lorem ipsum" drops the text; "javascript" drops the line; a curly bracket
drops the text; notices of policies and cookies drop the line. Then enough sentences must be left (`words.py`).

In a Chinese text the words are those of `words.py`, not what stands between blanks, and the closing quotes and full stops
of every script end a line. C4 itself has nothing for it: it would take out nearly every line, as datatrove does, and as
`language: en` does here.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Literal

from pydantic import Field

from yanmo.core.data import Document, Rejection
from yanmo.corpus.step import Edit
from yanmo.corpus.words import words
from yanmo.corpus.words.words import TERMINALS, Words, sentence_ends, sentences

CITATIONS = re.compile(r"\[\d*]|\[edit]|\[citation needed]")
ENGLISH_ENDS = frozenset(".?!\"'")
CHINESE_ENDS = ENGLISH_ENDS | TERMINALS | frozenset("”’」』")
ELLIPSES = ("...", "…")
POLICIES = ("terms of use", "privacy policy", "cookie policy", "uses cookies", "use of cookies", "use cookies")


class C4Quality(Edit):
    """C4's rules: takes out lines that are no sentences, drops code and filler.

    `split_paragraph`: looks at lines; false: at sentences. `remove_citations`: [1], [edit], [citation needed].
    `terminal_punctuation`: a line ends in . ? ! or a quote and not in ... (FineWeb: false). `min_num_sentences`: that must be
    left; null: any number. `min_words_per_line`; null: any. `max_word_length`: in characters, of a line's longest word; null:
    any. `lorem_ipsum`, `curly_bracket`: drop the text. `javascript`, `policy`: drop the line. `language`: whose rules and words
    hold (en, zh); null: those of the document's own."""

    type: str = "c4_quality"
    language: Literal["en", "zh"] | None = None
    split_paragraph: bool = True
    remove_citations: bool = True
    terminal_punctuation: bool = True
    min_num_sentences: int | None = Field(default=5, ge=0)
    min_words_per_line: int | None = Field(default=3, ge=0)
    max_word_length: int | None = Field(default=1000, ge=1)
    lorem_ipsum: bool = True
    javascript: bool = True
    curly_bracket: bool = True
    policy: bool = True

    def check(self) -> None:
        words.check(self.type)

    def rows(self, docs: Iterator[Document]) -> Iterator[Document]:
        for doc in docs:
            if doc.rejection is None:
                chinese = (self.language or words.language_of(doc)) == "zh"
                kept = self.sift(doc.text, chinese)
                if isinstance(kept, Rejection):
                    doc.rejection = kept
                elif not kept:
                    doc.rejection = Rejection(self.type, "empty", None)
                elif kept != doc.text:  # the same text keeps its words
                    doc.text = kept
            yield doc

    def edit(self, text: str) -> str:
        """The lines that stay, of a text in no known language; all of them where the whole text is to be dropped."""
        kept = self.sift(text, self.language == "zh")
        return text if isinstance(kept, Rejection) else kept

    def sift(self, text: str, chinese: bool) -> str | Rejection:
        """The lines that stay, or why none does."""
        kept = []
        for number, line in enumerate(text.splitlines() if self.split_paragraph else sentences(text, self.language), 1):
            line = line.strip()
            long_enough = self._long_enough(line, chinese)
            if long_enough is None:
                continue
            if self.remove_citations and "[" in line:
                line = CITATIONS.sub("", line)
            if not long_enough or (self.terminal_punctuation and not ended(line, chinese)):
                continue
            lower = line.lower()
            if self.lorem_ipsum and "lorem ipsum" in lower:
                return Rejection(self.type, "lorem_ipsum", number)
            if self.javascript and "javascript" in lower:
                continue
            if self.curly_bracket and "{" in line:
                return Rejection(self.type, "curly_bracket", number)
            if self.policy and any(phrase in lower for phrase in POLICIES):
                continue
            kept.append(line)
        if self.min_num_sentences is not None and len(kept) < self.min_num_sentences:  # each has one at least
            cuts = (len(sentence_ends(Words(line, self.language))) for line in kept) if self.split_paragraph else ()
            found = len(kept) + sum(cuts)
            if found < self.min_num_sentences:
                return Rejection(self.type, "too_few_sentences", found)
        return ("\n" if self.split_paragraph else " ").join(kept).strip()

    def _long_enough(self, line: str, chinese: bool) -> bool | None:
        """Whether a line has words enough; None where one of them is too long. Citations still count."""
        if self.max_word_length is not None and len(line) > self.max_word_length:
            lengths = Words(line, self.language).lengths if chinese else map(len, line.split())
            if max(lengths, default=0) > self.max_word_length:
                return None
        wanted = self.min_words_per_line
        if not wanted:
            return True
        if chinese:
            return len(line) >= wanted and Words(line, self.language).count >= wanted
        return len(line.split(None, wanted - 1)) >= wanted


def ended(line: str, chinese: bool) -> bool:
    """Whether a line ends as a sentence does."""
    if chinese:
        return line[-1:] in CHINESE_ENDS and not line.endswith(ELLIPSES)
    return line[-1:] in ENGLISH_ENDS and not line.endswith("...")
