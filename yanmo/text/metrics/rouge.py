"""ROUGE (Lin 2004): how much of a reference text an answer says, by its pieces (ROUGE-1, ROUGE-2) and in its order (ROUGE-L).

    rouge_1, rouge_2   n-grams that both have, clipped to the rarer count: precision of the answer's, recall of the reference's
    rouge_l           the longest common subsequence of pieces, not necessarily side by side, in place of the n-grams

F is the harmonic mean of precision and recall, 0 where either is. What a piece is has to be said beside every figure
(`signature`), since it moves them more than most models do:

    words        runs of a-z and 0-9 of the lower-cased text, everything else parts them: the `rouge-score` package without
                 stemming, to the last bit. It is made for English: of other scripts nothing is left.
    characters   each Chinese character or kana for itself; of other scripts, runs of letters with their marks, and of
                 digits; lower case. Punctuation and blanks are no pieces.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

NAMES = ("rouge_1", "rouge_2", "rouge_l")
TOKENIZERS = {"words": "lower-case runs of [a-z0-9] (rouge-score, no stemming)",
              "characters": "one Han character or kana, else runs of letters or digits, lower case"}  # fmt: skip
NOT_A_WORD = re.compile(r"[^a-z0-9]+")
ALONE = re.compile("[\u3040-\u30ff\u31f0-\u31ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff]")


class Score(NamedTuple):
    """Shares from 0 to 1."""

    precision: float
    recall: float
    f: float


def tokenizer_for(language: str) -> str:
    """Characters for what is written without spaces, words for everything else."""
    return "characters" if language.lower().partition("-")[0] in ("zh", "ja", "yue", "lzh", "wuu") else "words"


def signature(tokenizer: str) -> str:
    """What a figure is of, as a result says it."""
    return f"{tokenizer}: {TOKENIZERS[tokenizer]}"


def tokenize(content: str, tokenizer: str) -> list[str]:
    """The pieces of a text."""
    if tokenizer == "words":
        return NOT_A_WORD.sub(" ", content.lower()).split()
    assert tokenizer == "characters", tokenizer
    pieces: list[str] = []
    open_kind = ""  # of the run that the last piece is
    for character in unicodedata.normalize("NFC", content).lower():
        category = unicodedata.category(character)
        if ALONE.match(character):
            pieces.append(character)
            open_kind = "H"
        elif category[0] == "M" and open_kind:  # a mark belongs to what stands before it
            pieces[-1] += character
        elif category[0] in "LN":
            if category[0] == open_kind:
                pieces[-1] += character
            else:
                pieces.append(character)
            open_kind = category[0]
        else:
            open_kind = ""
    return pieces


def rouge(reference: str, answer: str, tokenizer: str = "words") -> dict[str, Score]:
    """The three scores by their names."""
    wanted, given = tokenize(reference, tokenizer), tokenize(answer, tokenizer)
    return {"rouge_1": _of_grams(wanted, given, 1), "rouge_2": _of_grams(wanted, given, 2),
            "rouge_l": _score(common_subsequence(wanted, given), len(wanted), len(given))}  # fmt: skip


def common_subsequence(first: Sequence[str], second: Sequence[str]) -> int:
    """The length of the longest common subsequence, a row of the table as the bits of one number (Hyyrö 2004)."""
    places: dict[str, int] = {}
    for place, piece in enumerate(first):
        places[piece] = places.get(piece, 0) | 1 << place
    whole = (1 << len(first)) - 1
    row = whole  # a bit is 0 where the length grows
    for piece in second:
        found = row & places.get(piece, 0)
        row = (row + found | row - found) & whole
    return len(first) - row.bit_count()


def _of_grams(wanted: Sequence[str], given: Sequence[str], size: int) -> Score:
    known, said = (Counter(zip(*(pieces[start:] for start in range(size)))) for pieces in (wanted, given))
    both = sum(min(count, known[gram]) for gram, count in said.items())
    return _score(both, sum(known.values()), sum(said.values()))


def _score(both: int, wanted: int, given: int) -> Score:
    precision, recall = both / max(given, 1), both / max(wanted, 1)
    return Score(precision, recall, 2 * precision * recall / (precision + recall) if both else 0.0)
