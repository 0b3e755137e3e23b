"""ARPA files: the text form of n-gram models that SRILM, KenLM and speech recognisers read and write.

    \\data\\
    ngram 1=3
    ngram 2=2

    \\1-grams:
    -0.8129134	</s>
    -99	<s>	-0.3010300
    -0.6320232	研	-0.3010300

    \\2-grams:
    -0.1760913	<s> 研
    -0.3979400	研 </s>

    \\end\\

A line is log10 p(w | h), the n-gram, and, where it may be a context, log10 of its back-off weight. p is the whole
probability, so a model that mixes and one that backs off look alike: what was not seen has back-off · p(w | h').

Our border is `</s>` where it is predicted and `<s>` where it is what came before. A token is written as the tokenizer
calls it, white space and backslashes as `\\x20;`. Read with the words of a tokenizer, tokens that the file lacks share
the probability of `<unk>`; read without, the model's vocabulary is the file's: `<unk>` 0, the border 1, then its words.
"""

from __future__ import annotations

import gzip
import math
import re
from array import array
from collections.abc import Iterator, Mapping
from itertools import pairwise
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import numpy as np
import torch

from yanmo.core.errors import DataError
from yanmo.core.files import atomic
from yanmo.core.messages import Text, text
from yanmo.models.base import Inputs
from yanmo.models.grams import Array
from yanmo.models.ngram import TINY, NgramLanguageModel
from yanmo.models.trie import Trie, narrow

if TYPE_CHECKING:
    from yanmo.text.tokenizer import Tokenizer

BEGIN, END, UNKNOWN = "<s>", "</s>", "<unk>"
NEVER = -99.0  # log10 p of what is never predicted: SRILM's
ROWS = 1 << 16  # n-grams looked at together
NOBODY = 0xFFFFFFFF  # a word without a token
LONGEST = 32  # tokens of an n-gram
_ESCAPED = re.compile(r"[\s\\\x00-\x1f\x7f\x85\u2028\u2029]")


def words_of(tokenizer: Tokenizer) -> list[str]:
    """The word of each token: as the tokenizer calls it, without white space, never one of ARPA's own three."""
    found = []
    for token in range(tokenizer.size):
        name = tokenizer.inner.id_to_token(token) or f"<{token}>"
        word = _ESCAPED.sub(lambda match: "".join(f"\\x{ord(c):02x};" for c in match[0]), name)
        found.append(f"\\x3c;{word[1:]}" if word in (BEGIN, END, UNKNOWN) else word)
    return found


def write(path: Path | str, model: NgramLanguageModel, words: list[str], border: int) -> None:
    """`words[i]` stands for token i, but for the border."""
    trie = model.trie
    if len(words) != trie.vocabulary:
        raise DataError(str(path), text("{count} words", count=trie.vocabulary), str(len(words)))
    levels = trie.levels()
    with atomic(Path(path)) as temporary, open(temporary, "w", encoding="utf-8", newline="\n") as file:
        file.write("\\data\\\n")
        for length, (begin, end) in enumerate(levels, 1):
            file.write(f"ngram {length}={end - begin + (length == 1)}\n")
        for length, (begin, end) in enumerate(levels, 1):
            file.write(f"\n\\{length}-grams:\n")
            for start in range(begin, end, ROWS):
                file.writelines(_lines(model, np.arange(start, min(start + ROWS, end)), length, words, border))
        file.write("\n\\end\\\n")


def _lines(model: NgramLanguageModel, nodes: Array, length: int, words: list[str], border: int) -> Iterator[str]:
    trie = model.trie
    rows = trie.paths(nodes, length)
    p = trie.unigram[rows[:, 0]].astype(np.float64)
    if length > 1:
        p = model.probabilities(Inputs(torch.from_numpy(rows[:, :-1].copy())), rows[:, 1:])[:, -1]
    logs = np.log10(np.maximum(p, TINY)).tolist()
    weights = np.log10(np.maximum(trie.gamma[nodes], TINY)).tolist() if length < trie.order else None
    for place, (row, value) in enumerate(zip(rows.tolist(), logs)):
        names = [words[token] for token in row]
        if row[0] == border and length > 1:
            names[0] = BEGIN
        if row[-1] == border:
            names[-1] = END
        tail = "" if weights is None or row[-1] == border else f"\t{weights[place]:.7g}"
        yield f"{value:.7g}\t{' '.join(names)}{tail}\n"
        if row == [border]:
            yield f"{NEVER:g}\t{BEGIN}" + ("" if weights is None else f"\t{weights[place]:.7g}") + "\n"


# ------------------------------------------------------------------------------------------------ reading


def read(path: Path | str, words: Mapping[str, int] | None = None, vocabulary: int | None = None,
         border: int = 1) -> tuple[NgramLanguageModel, list[str]]:  # fmt: skip
    """The model of an ARPA file (also .gz), and its words by token. With `words` (word → token, without ARPA's own three)
    and `vocabulary` (how many tokens there are) it speaks a tokenizer's tokens. DataError, with the line, for what is no
    ARPA file."""
    reader = _Reader(Path(path), words, border)
    sections = reader.sections()
    known = {name: token for name, token in reader.known.items() if token != NOBODY}
    names = [""] * max(vocabulary or 0, max(known.values()) + 1)
    for name, token in known.items():
        names[token] = name.decode("utf-8")
    names[reader.border] = END
    return _built(reader, sections, len(names)), names


class _Section:
    """The n-grams of one length as they come."""

    def __init__(self, length: int, line: int):
        self.length, self.line = length, line  # of its first n-gram
        self.tokens, self.logs, self.weights = array("I"), array("d"), array("d")

    def rows(self) -> Array:
        return np.frombuffer(self.tokens, np.uint32).reshape(-1, self.length).astype(np.int64)


class _Reader:
    def __init__(self, path: Path, words: Mapping[str, int] | None, border: int):
        self.open = words is None  # words may be added
        self.path, self.border, self.line = path, 1 if words is None else border, 0
        border = self.border
        self.ahead = b""  # a line that was read too early
        self.next = 2  # the token of the next new word
        self.ends: dict[bytes, tuple[float, float]] = {}  # of <s> and </s>, log p and log back-off
        self.known: dict[bytes, int] = {word.encode("utf-8"): token for word, token in (words or {}).items()}
        self.known |= {BEGIN.encode(): border, END.encode(): border}
        self.unknown = 0 if self.open else -1  # -1: no token of its own
        self.unknown_log = -math.inf
        if self.open:
            self.known[UNKNOWN.encode()] = 0

    def wrong(self, expected: Text | str, given: Text | str | bytes) -> DataError:
        shown = given.decode("utf-8", "replace")[:80] if isinstance(given, bytes) else given
        return DataError(f"{self.path}:{self.line}", expected, shown)

    def sections(self) -> list[_Section]:
        if not self.path.is_file():
            raise DataError(str(self.path), text("an ARPA file"), text("no such file"))
        opener: Any = gzip.open if self.path.suffix == ".gz" else open
        with opener(self.path, "rb") as file:
            try:
                lines = self._numbered(file)
                counts, line = self._counts(lines)
                found = []
                for length, count in enumerate(counts, 1):
                    if line != b"\\%d-grams:" % length:
                        raise self.wrong(f"\\{length}-grams:", line or text("the end of the file"))
                    section = self._section(lines, length, count)
                    found.append(section)
                    line = self._next(lines)
                if line != b"\\end\\":
                    raise self.wrong("\\end\\", line or text("the end of the file"))
            except (EOFError, gzip.BadGzipFile, OSError) as error:
                raise self.wrong(text("an ARPA file"), str(error)) from None
        return found

    def _numbered(self, file: IO[bytes]) -> Iterator[bytes]:
        for line in file:
            self.line += 1
            yield line

    def _next(self, lines: Iterator[bytes]) -> bytes:
        """The next line that is not blank; b"" at the end."""
        line, self.ahead = self.ahead.strip(), b""
        while not line and (more := next(lines, b"")):
            line = more.strip()
        return line

    def _counts(self, lines: Iterator[bytes]) -> tuple[list[int], bytes]:
        for line in lines:  # what precedes the beginning is anybody's remark
            if line.strip() == b"\\data\\":
                break
            if self.line > 1000 or len(line) > 1 << 16:
                raise self.wrong("\\data\\", text("something else"))
        else:
            raise self.wrong("\\data\\", text("the end of the file"))
        counts: list[int] = []
        while (line := self._next(lines)).startswith(b"ngram "):
            match = re.fullmatch(rb"ngram (\d{1,3}) ?= ?(\d{1,15})", line)
            if not match or int(match[1]) != len(counts) + 1 or len(counts) == LONGEST:
                raise self.wrong(f"ngram {len(counts) + 1}=", line)
            counts.append(int(match[2]))
        if not counts or not counts[0]:
            raise self.wrong("ngram 1=", line or text("the end of the file"))
        return counts, line

    def _section(self, lines: Iterator[bytes], length: int, count: int) -> _Section:
        section = _Section(length, self.line + 1)
        tokens, logs, weights, known = section.tokens, section.logs, section.weights, self.known
        for _ in range(count):
            line = next(lines, b"")
            fields = line.split()
            if len(fields) != length + 1 and len(fields) != length + 2:
                if not fields or fields[0].startswith(b"\\"):
                    raise self.wrong(text("{count} n-grams of length {length}", count=count, length=length),
                                     str(len(logs)))  # fmt: skip
                raise self.wrong(text("a number and {length} words", length=length), line.strip())
            logs.append(self._number(fields[0]))
            weights.append(self._number(fields[-1], weight=True) if len(fields) == length + 2 else 0.0)
            if length == 1:
                self._unigram(fields[1], section)
                continue
            try:
                row = [known[word] for word in fields[1 : length + 1]]
            except KeyError as error:
                raise self.wrong(text("words that are among the 1-grams"), error.args[0]) from None
            if fields[length] == BEGIN.encode():
                raise self.wrong(text("{word} at the beginning alone", word=BEGIN), line.strip())
            if NOBODY in row:
                logs.pop()
                weights.pop()
            else:
                tokens.extend(row)
        self.ahead = next(lines, b"")
        if self.ahead.strip() and not self.ahead.startswith(b"\\"):
            raise self.wrong(text("{count} n-grams of length {length}", count=count, length=length), text("more"))
        return section

    def _number(self, field: bytes, weight: bool = False) -> float:
        try:
            value = float(field)
        except ValueError:
            value = math.nan
        if math.isnan(value) or value == math.inf or (value > 1e-6 and not weight):
            raise self.wrong(text("a logarithm of a probability") if not weight else text("a logarithm of a weight"), field)
        return max(value, NEVER)

    def _unigram(self, word: bytes, section: _Section) -> None:
        token = self.known.get(word, -1)
        if token < 0:
            if word.lower() == UNKNOWN.encode():
                self.unknown_log = section.logs[-1]
                token = self.unknown
                self.known[word] = token if token >= 0 else NOBODY
                if token < 0:  # its probability goes to the tokens that the file lacks
                    section.logs.pop()
                    section.weights.pop()
                    return
            else:
                try:
                    word.decode("utf-8")
                except UnicodeDecodeError:
                    raise self.wrong(text("UTF-8 text"), word) from None
                if not self.open:
                    raise self.wrong(text("a word of the tokenizer"), word)
                token = self.known[word] = self.next
                self.next += 1
        elif token == self.border:
            if word in self.ends:
                raise self.wrong(text("each n-gram once"), word)
            self.ends[word] = (section.logs[-1], section.weights[-1])
        section.tokens.append(token)


def _built(reader: _Reader, sections: list[_Section], vocabulary: int) -> NgramLanguageModel:
    order = len(sections)
    unigram = np.full(vocabulary, np.nan)
    gamma = np.ones(vocabulary)
    first = sections[0]
    for token, log, weight in zip(first.tokens, first.logs, first.weights):
        if not np.isnan(unigram[token]) and token != reader.border:
            raise DataError(str(reader.path), text("each n-gram once"), text("token {token} twice", token=token))
        unigram[token], gamma[token] = 10.0**log, 10.0**weight
    unigram[reader.border] = 10.0 ** reader.ends.get(END.encode(), (np.nan, 0.0))[0]
    gamma[reader.border] = 10.0 ** reader.ends.get(BEGIN.encode(), (0.0, 0.0))[1]
    absent = np.isnan(unigram)
    unigram[absent] = 10.0**reader.unknown_log / max(int(absent.sum()), 1)
    rows, logs, weights = _closed(reader, sections, vocabulary)
    trie = _laid_out(rows, weights, gamma, np.maximum(unigram, TINY).astype(np.float32), [len(s.logs) for s in sections])
    model = NgramLanguageModel(trie)
    for length, (begin, end) in enumerate(trie.levels(), 1):
        for start in range(begin, end if length > 1 else begin, ROWS):
            stop = min(start + ROWS, end)
            found = rows[length - 1][start - begin : stop - begin]
            value = logs[length - 1][start - begin : stop - begin]
            shorter = (trie.unigram[found[:, 1]].astype(np.float64) if length == 2 else
                       model.probabilities(Inputs(torch.from_numpy(found[:, 1:-1].copy())), found[:, 2:])[:, -1])  # fmt: skip
            context = np.searchsorted(trie.first, np.arange(start, stop), "right") - 1
            share = 10.0**value - trie.gamma[context].astype(np.float64) * shorter
            trie.share[start:stop] = np.where(np.isnan(value), 0.0, share)
    assert order == trie.order
    return model


def _closed(reader: _Reader, sections: list[_Section], vocabulary: int) -> tuple[list[Array], list[Array], list[Array]]:
    """The n-grams of each length, sorted, with log p (NaN for contexts that the file leaves out) and log back-off."""
    rows: list[Array] = [np.arange(vocabulary)[:, None]]
    logs: list[Array] = [np.zeros(vocabulary)]
    weights: list[Array] = [np.zeros(vocabulary)]
    needed = np.zeros((0, len(sections)), np.int64)  # contexts of what is longer
    for section in reversed(sections[1:]):
        own = section.rows()
        every = np.concatenate([own, needed[:, : section.length]])
        log = np.concatenate([np.frombuffer(section.logs), np.full(len(needed), np.nan)])
        weight = np.concatenate([np.frombuffer(section.weights), np.zeros(len(needed))])
        order = np.lexsort((np.arange(len(every)), *every.T[::-1]))
        every, log, weight = every[order], log[order], weight[order]
        equal = np.zeros(len(every), bool)
        equal[1:] = (every[1:] == every[:-1]).all(1)
        twice = np.flatnonzero(equal & ~np.isnan(log))
        if len(twice):  # the file's own come before those that are needed
            reader.line = section.line + int(order[twice[0]])
            raise reader.wrong(text("each n-gram once"), text("one for the second time"))
        rows.insert(1, every[~equal])
        logs.insert(1, log[~equal])
        weights.insert(1, weight[~equal])
        needed = rows[1][:, :-1]
        needed = needed[np.concatenate([[True], (needed[1:] != needed[:-1]).any(1)])] if len(needed) else needed
    return rows, logs, weights


def _laid_out(rows: list[Array], weights: list[Array], gamma: Array, unigram: Array, ngrams: list[int]) -> Trie:
    """The trie's arrays, without shares."""
    order, vocabulary = len(rows), len(unigram)
    firsts: list[Array] = [np.array([1 + vocabulary])]
    place = 1 + vocabulary
    for shorter, longer in pairwise(rows):
        new = np.ones(len(longer), bool)
        new[1:] = (longer[1:, :-1] != longer[:-1, :-1]).any(1)
        begins = np.flatnonzero(new)
        sizes = np.diff(begins, append=len(longer))
        children = np.zeros(len(shorter), np.int64)
        if shorter.shape[1] == 1:
            children[longer[begins, 0]] = sizes
        else:
            context = _places(shorter, longer[begins, :-1])
            children[context] = sizes
        firsts.append(place + np.cumsum(children) - children)
        place += len(longer)
    firsts.append(np.array([place]))
    gammas = [np.ones(1), gamma, *(10.0**weight for weight in weights[1:-1])] if order > 1 else [np.ones(1)]
    tokens = [np.zeros(1, np.int64), *(each[:, -1] for each in rows)]
    return Trie(np.concatenate(tokens).astype(narrow(vocabulary - 1)),
                np.concatenate(firsts).astype(np.int32 if place < 2**31 else np.int64),
                np.concatenate(gammas).astype(np.float32), np.zeros(place, np.float32), unigram, order, ngrams)  # fmt: skip


def _places(sorted_rows: Array, wanted: Array) -> Array:
    """Where each of `wanted`, sorted and all there, stands among `sorted_rows`."""
    both = np.concatenate([sorted_rows, wanted])
    order = np.lexsort((np.arange(len(both)), *both.T[::-1]))
    own = order < len(sorted_rows)
    last = np.cumsum(own) - 1
    return last[~own]
