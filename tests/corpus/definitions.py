"""The filters' definitions, word for word over plain lists of strings: slow, and what the arrays are measured against."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable
from itertools import pairwise

from yanmo.corpus.words.english import split
from yanmo.corpus.words.words import CHINESE, SYMBOLS, TERMINALS


def cutter(text: str, language: str | None) -> Callable[[str], list[str]]:
    """What cuts the pieces of this text: the rules of `language`; without one, those with Chinese characters go to jieba, all
    where these are the most of it."""
    if language:
        return jieba if language == "zh" else split
    chinese = [piece for piece in text.split() if CHINESE.search(piece)]
    most = len("".join(chinese)) > len("".join(text.split())) / 2
    return lambda piece: jieba(piece) if most or CHINESE.search(piece) else split(piece)


def jieba(piece: str) -> list[str]:
    """rjieba's words, in which jieba itself cuts names and numbers that are joined, and rare characters."""
    import rjieba

    found = []
    for word in rjieba.cut(piece):
        if word.isascii() and word[0].isalnum() and word[-1].isalnum() and set(word) & set("._-"):
            found += [part for part in re.split(r"([a-zA-Z0-9]+(?:\.\d+)?%?)", word) if part]
        else:
            found += [part for part in re.split("([\u3400-\u4dbf\u9fd6-\u9fff\uf900-\ufaff\U00020000-\U0003ffff])", word) if part]
    return found


def words(text: str, language: str | None = None) -> list[str]:
    cut = cutter(text, language)
    return [word for piece in text.split() for word in cut(piece)]


# ------------------------------------------------------------------------------------------------ sentences


def is_mark(word: str) -> bool:
    import unicodedata

    return all(unicodedata.category(character).startswith("P") for character in word)


def spaced_words(text: str) -> list[tuple[int, str]]:
    """(place, word), with the runs of blanks that are words of their own: all but a single space behind a word."""
    found, cut = [], cutter(text, None)
    for match in re.finditer(r"\s+|\S+", text):
        body, start = match.group(), match.start()
        if not body.isspace():
            for word in cut(body):
                found.append((start, word))
                start += len(word)
        else:
            if body[0] == " " and start > 0:
                body, start = body[1:], start + 1
            if body:
                found.append((start, body))
    return found


def sentences(text: str) -> list[str]:
    cuts, stop = [0], False
    found = spaced_words(text)
    for number, (_, word) in enumerate(found):
        terminal = word in TERMINALS
        if stop and not terminal and not is_mark(word):
            before_start, before = found[number - 1]
            cuts.append(before_start + len(before))
            stop = False
        elif terminal:
            stop = True
    cuts.append(len(text))
    return [text[a:b] for a, b in pairwise(cuts)]


# ------------------------------------------------------------------------------------------------ Gopher


def gopher_quality(text: str, limits: dict, language: str | None = None) -> tuple[str, float] | None:
    found = words(text, language)
    n_words = len(found)
    non_symbol = [w for w in found if any(ch not in SYMBOLS for ch in w)]
    if len(non_symbol) < limits["min_doc_words"]:
        return "gopher_short_doc", len(non_symbol)
    if len(non_symbol) > limits["max_doc_words"]:
        return "gopher_long_doc", len(non_symbol)
    mean = sum(len(w) for w in non_symbol) / len(non_symbol)
    if mean < limits["min_avg_word_length"]:
        return "gopher_below_avg_threshold", mean
    if mean > limits["max_avg_word_length"]:
        return "gopher_above_avg_threshold", mean
    if text.count("#") / n_words > limits["max_symbol_word_ratio"]:
        return "gopher_too_many_hashes", text.count("#") / n_words
    ellipses = (text.count("...") + text.count("…")) / n_words
    if ellipses > limits["max_symbol_word_ratio"]:
        return "gopher_too_many_ellipsis", ellipses
    lines = text.splitlines()
    bullets = sum(s.lstrip().startswith("•") or s.lstrip().startswith("-") for s in lines) / len(lines)
    if bullets > limits["max_bullet_lines_ratio"]:
        return "gopher_too_many_bullets", bullets
    ends = sum(s.rstrip().endswith("...") or s.rstrip().endswith("…") for s in lines) / len(lines)
    if ends > limits["max_ellipsis_lines_ratio"]:
        return "gopher_too_many_end_ellipsis", ends
    alpha = sum(any(c.isalpha() for c in w) for w in found) / n_words
    if alpha < limits["min_alpha_words_ratio"]:
        return "gopher_below_alpha_threshold", alpha
    stop = len(set(limits["stop_words"]) & set(found))
    if stop < limits["min_stop_words"]:
        return "gopher_enough_stop_words", stop
    return None


def find_duplicates(parts: list[str]) -> tuple[int, int]:
    seen: set[str] = set()
    count = characters = 0
    for part in parts:
        if part in seen:
            count += 1
            characters += len(part)
        seen.add(part)
    return count, characters


def gopher_repetition(text: str, limits: dict, language: str | None = None) -> tuple[str, float] | None:
    for name, parts in (("para", re.split(r"\n{2,}", text.strip())), ("line", re.split("\n+", text))):
        count, characters = find_duplicates(parts)
        if limits[f"dup_{name}_frac"] is not None and count / len(parts) > limits[f"dup_{name}_frac"]:
            return f"dup_{name}_frac", count / len(parts)
        if limits[f"dup_{name}_char_frac"] is not None and characters / len(text) > limits[f"dup_{name}_char_frac"]:
            return f"dup_{name}_char_frac", characters / len(text)
    found = words(text, language)
    for n, limit in limits["top_n_grams"].items():
        grams = [" ".join(found[i : i + n]) for i in range(len(found) - n + 1)]
        if grams:
            gram, count = Counter(grams).most_common(1)[0]
            if len(gram) * count / len(text) > limit:
                return f"top_{n}_gram", len(gram) * count / len(text)
    for n, limit in limits["dup_n_grams"].items():
        unique: set[str] = set()
        characters = i = 0
        while i < len(found) - n + 1:
            gram = "".join(found[i : i + n])
            if gram in unique:
                characters += len(gram)
                i += n
            else:
                unique.add(gram)
                i += 1
        if characters / len(text) > limit:
            return f"duplicated_{n}_n_grams", characters / len(text)
    return None


# ------------------------------------------------------------------------------------------------ C4 and FineWeb

POLICIES = ("terms of use", "privacy policy", "cookie policy", "uses cookies", "use of cookies", "use cookies")


def c4_quality(text: str, options: dict) -> str | tuple[str, float]:
    """The text that is left, or (reason, value): the number of the line, or of the sentences."""
    lines = text.splitlines() if options["split_paragraph"] else sentences(text)
    kept: list[str] = []
    count = 0
    for number, line in enumerate(lines, 1):
        line = line.strip()
        pieces = line.split()
        if any(len(piece) > options["max_word_length"] for piece in pieces):
            continue
        if options["remove_citations"]:
            line = re.sub(r"\[\d*]|\[edit]|\[citation needed]", "", line)
        if options["terminal_punctuation"] and (not line.endswith((".", "?", "!", '"', "'")) or line.endswith("...")):
            continue
        if len(pieces) < options["min_words_per_line"]:
            continue
        if options["lorem_ipsum"] and "lorem ipsum" in line.lower():
            return "lorem_ipsum", number
        if options["javascript"] and "javascript" in line.lower():
            continue
        if options["curly_bracket"] and "{" in line:
            return "curly_bracket", number
        if options["policy"] and any(phrase in line.lower() for phrase in POLICIES):
            continue
        count += len(sentences(line)) if options["split_paragraph"] else 1
        kept.append(line)
    if count < options["min_num_sentences"]:
        return "too_few_sentences", count
    return ("\n" if options["split_paragraph"] else " ").join(kept).strip()


def fineweb_quality(text: str, limits: dict, language: str | None = None) -> tuple[str, float | None] | None:
    lines = [line for line in text.split("\n") if line.strip() != ""]
    if not lines:
        return "empty", None
    ratio = sum(line.endswith(tuple(TERMINALS)) for line in lines) / len(lines)
    if ratio < limits["line_punct_ratio"]:
        return "line_punct_ratio", ratio
    ratio = sum(len(line) <= 30 for line in lines) / len(lines)
    if limits["short_line_ratio"] is not None and ratio > limits["short_line_ratio"]:
        return "short_line_ratio", ratio
    ratio = find_duplicates(lines)[1] / len(text.replace("\n", ""))
    if ratio > limits["char_duplicates_ratio"]:
        return "char_dup_ratio", ratio
    ratio = text.count("\n") / len(words(text, language))
    if ratio > limits["new_line_ratio"]:
        return "list_ratio", ratio
    return None
