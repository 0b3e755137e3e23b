"""datatrove's settings for a language: its own for English, FineWeb-2's for Chinese in Han characters (Penedo et al. 2025)."""

from __future__ import annotations

from typing import Any

STOP_WORDS = list("的年在月是和日了於·為有被人中为他與後也而由")


def settings(language: str) -> dict[str, dict[str, Any]]:
    """The arguments of each filter; null and 0 turn a rule off, and of C4 -1."""
    if language == "en":
        return {name: {} for name in ("gopher_quality", "gopher_repetition", "fineweb_quality", "c4", "minhash")}
    same = {"language": "cmn_Hani"}
    return {
        "gopher_quality": {**same, "min_avg_word_length": 1, "max_avg_word_length": 5, "max_non_alpha_words_ratio": 0.735,
                           "stop_words": STOP_WORDS},
        "gopher_repetition": {**same, "dup_line_frac": 0.287, "dup_para_frac": 0, "dup_line_char_frac": 0,
                              "dup_para_char_frac": 0, "top_n_grams": ((2, 0.256), (3, 0.201), (4, 0.171)),
                              "dup_n_grams": ((5, 0.198), (6, 0.182), (7, 0.167), (8, 0.154), (9, 0.14), (10, 0.127))},
        "fineweb_quality": {**same, "line_punct_thr": 0.106, "short_line_thr": 999, "char_duplicates_ratio": 0.1,
                            "new_line_ratio": 0.178},
        "c4": {**same, "min_words_per_line": -1, "max_word_length": -1},
        "minhash": same,
    }  # fmt: skip
