"""fastText's supervised models (Joulin et al. 2017), read from their files and applied to whole texts.

Such a model says how likely each label is from the mean of the vectors of a text's words and of the runs of letters in them.
Words come again, so their sums of vectors are kept: English is labelled some ten times as fast as by working out every run
of letters anew, which is what the library does. What is new, and what is long (Chinese, which writes no spaces), is worked
out for the whole text at once, in arrays. Vectors are whole numbers of 2^-20, so that a sum does not depend on the order of
its terms, and a text's score not on the texts before it.

The format is that of version 12: settings, words and labels, vectors (plain, or as codes of a product quantizer), weights.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from yanmo.core.errors import DataError
from yanmo.core.messages import text

Array = NDArray[Any]

MAGIC, VERSION = 793712314, 12
HIERARCHICAL, SOFTMAX, ONE_AGAINST_ALL = 1, 3, 4
SUPERVISED = 3
PREFIX = "__label__"
LINE_END = b"</s>"  # the word that ends a line
SCALE = float(1 << 20)
SMALL = 1e-5  # added to a probability before its logarithm
LONG = 32  # bytes of a word that is still worth keeping
PIECE = 1 << 16  # bytes that are worked out at once; what is longer without a blank is read as several words
WORDS = 1 << 18  # that are kept before keeping is begun anew: some 50 MB


class _Known(dict[bytes, int]):
    """Word → its row; -1 for one that has none."""

    def __missing__(self, word: bytes) -> int:
        return -1


class Model:
    """`labels`: as they are in the file, without their prefix."""

    def __init__(self, path: str | Path):
        """Reads a model; DataError for a file that is none, or of a kind that cannot identify by letters."""
        self.path = str(path)
        with open(path, "rb") as handle:
            data = memoryview(handle.read())
        try:
            self._read(_Reader(data))
        except (struct.error, ValueError, IndexError, UnicodeDecodeError, AssertionError) as error:
            raise DataError(self.path, text("a fastText model"), str(error) or None) from None
        self._forget()

    # -------------------------------------------------------------------------------------------- the file

    def _read(self, file: _Reader) -> None:
        if file.ints(2) != (MAGIC, VERSION):
            raise ValueError("another format")
        dim, _, _, _, _, grams, self.loss, kind, self.bucket, self.shortest, self.longest, _ = file.ints(12)
        file.take("<d")
        known = (HIERARCHICAL, SOFTMAX, ONE_AGAINST_ALL)
        if kind != SUPERVISED or self.loss not in known or grams != 1 or not 2 <= self.shortest <= self.longest:
            raise ValueError("a model of another kind")
        size, self.words, label_count = file.ints(3)
        file.take("<q")
        (pruned,) = file.take("<q")
        entries = [(file.word(), *file.take("<qb")) for _ in range(size)]
        self.vocabulary = {word: row for row, (word, _, label) in enumerate(entries) if not label}
        found = [(word.decode("utf-8").removeprefix(PREFIX), count) for word, count, label in entries if label]
        self.labels = [label for label, _ in found]
        assert (len(self.vocabulary), len(found)) == (self.words, label_count)
        self.rows: Array | None = None  # of a run of letters, by its hash; None where every hash has one
        if pruned >= 0:
            pairs = file.array("<i4", 2 * pruned).reshape(-1, 2)
            self.rows = np.full(self.bucket, -1, np.int32)
            self.rows[pairs[:, 0]] = pairs[:, 1] + self.words
        quantized = file.take("<b")[0]
        vectors = file.quantized() if quantized else file.dense()
        coded = file.take("<b")[0]
        self.weights = (file.quantized() if quantized and coded else file.dense()).astype(np.float64)
        assert vectors.shape[1] == self.weights.shape[1] == dim
        self.vectors = np.rint(vectors * SCALE).astype(np.int32)  # (words + runs of letters, dim)
        if self.loss == HIERARCHICAL:
            self.paths = _paths([count for _, count in found])

    # -------------------------------------------------------------------------------------------- a text

    def predict(self, texts: Sequence[str]) -> list[tuple[str, float] | None]:
        """The likeliest label of each text and its probability; None where nothing is known of it. A line's end is a blank."""
        if self.used > WORDS:
            self._forget()
        found = [text.encode("utf-8", "replace").replace(b"\0", b" ").split() for text in texts]
        rows = [np.fromiter(map(self.known.__getitem__, words), np.int64, len(words)) for words in found]
        missing = [(i, np.flatnonzero(known < 0).tolist()) for i, known in enumerate(rows) if known.size and known.min() < 0]
        self._keep(list(dict.fromkeys(found[i][k] for i, places in missing for k in places if len(found[i][k]) <= LONG)))
        for i, places in missing:
            rows[i][places] = [self.known[found[i][k]] for k in places]
        apart = self._apart((i, found[i][k]) for i, places in missing for k in places if rows[i][k] < 0)
        return [self._label(known[known >= 0] if i in apart else known, *apart.get(i, (0, 0))) for i, known in enumerate(rows)]

    def _label(self, rows: Array, total: Any, count: int) -> tuple[str, float] | None:
        """The label of a text with these words that are kept, and with others whose vectors and number are given."""
        total = total + self.end_sum + self.sums[rows].sum(0)
        count = count + self.end_count + int(self.counts[rows].sum())
        if count == 0:
            return None
        scores = self._scores(total / (SCALE * count))
        best = int(scores.argmax())
        return self.labels[best], float(scores[best])

    def _scores(self, hidden: Array) -> Array:
        """(labels,) probabilities from the mean vector."""
        logits = self.weights @ hidden
        if self.loss == SOFTMAX:
            scores = np.exp(logits - logits.max())
            return scores / scores.sum()
        right = 1 / (1 + np.exp(-logits))
        if self.loss == ONE_AGAINST_ALL:
            return right
        right = right[: len(right) - 1]  # a tree has one inner node less than leaves
        return np.exp(np.log(np.concatenate([right, 1 - right, [1 - SMALL]]) + SMALL)[self.paths].sum(1))

    # -------------------------------------------------------------------------------------------- words

    def _forget(self) -> None:
        self.known, self.used = _Known(), 0
        self.sums, self.counts = np.zeros((1 << 12, self.vectors.shape[1]), np.int64), np.zeros(1 << 12, np.int64)
        sums, counts = self._sums([LINE_END])  # a line's end is a word of every text
        self.end_sum, self.end_count = sums[0], int(counts[0])

    def _keep(self, words: list[bytes]) -> None:
        last = self.used + len(words)
        while last > len(self.counts):
            self.sums, self.counts = (np.concatenate([a, np.zeros_like(a)]) for a in (self.sums, self.counts))
        for group in _groups(words):
            self.sums[self.used : self.used + len(group)], self.counts[self.used : self.used + len(group)] = self._sums(group)
            self.known.update(zip(group, range(self.used, self.used + len(group))))
            self.used += len(group)

    def _apart(self, words: Iterable[tuple[int, bytes]]) -> dict[int, tuple[Array, int]]:
        """The sum and number of vectors of the words that are too long to be kept, for each text that has some."""
        pieces = [(text, word[place : place + PIECE]) for text, word in words for place in range(0, len(word), PIECE)]
        texts = iter([text for text, _ in pieces])
        found: dict[int, tuple[Any, int]] = {}
        for group in _groups([piece for _, piece in pieces]):
            for sums, count in zip(*self._sums(group)):
                text = next(texts)
                before = found.get(text, (0, 0))
                found[text] = before[0] + sums, before[1] + int(count)
        return found

    def _sums(self, words: list[bytes]) -> tuple[Array, Array]:
        """(words, dim) sums of the vectors of each word and of its runs of letters, and (words,) their numbers."""
        own = [self.vocabulary.get(word, -1) for word in words]
        sums = np.where(np.array(own)[:, None] >= 0, self.vectors[own], 0).astype(np.int64)
        counts = (np.array(own) >= 0).astype(np.int64)
        letters = [i for i, word in enumerate(words) if word != LINE_END and not word.startswith(PREFIX.encode())]
        for rows, of in self._runs([words[i] for i in letters]) if letters else ():
            ends = np.searchsorted(of, np.arange(len(letters) + 1))
            running = np.zeros((rows.size + 1, sums.shape[1]), np.int64)
            np.cumsum(self.vectors[rows], axis=0, dtype=np.int64, out=running[1:])
            sums[letters] += running[ends[1:]] - running[ends[:-1]]
            counts[letters] += np.diff(ends)
        return sums, counts

    def _runs(self, words: list[bytes]) -> list[tuple[Array, Array]]:
        """For each length: the rows of the runs of so many letters, and the words they are of, in order. A word stands
        between < and >, and a run is known by the 32-bit FNV-1a of its UTF-8, whose bytes have a sign in fastText."""
        data = np.frombuffer(b"".join([b"<%b>" % word for word in words]) + bytes(4 * self.longest), np.uint8)
        size = data.size - 4 * self.longest
        starts = np.flatnonzero((data[:size] & 0xC0) != 0x80)
        widths = np.diff(np.append(starts, size))
        word_of = np.repeat(np.arange(len(words)), [len(word) + 2 for word in words])[starts]
        signed = data.view(np.int8).astype(np.int32).view(np.uint32)
        bytes_of = [(signed[starts + byte], widths > byte) for byte in range(int(widths.max(initial=0)))]  # of each letter
        hashes, found = np.full(starts.size, 2166136261, np.uint32), []
        for count in range(1, min(self.longest, starts.size) + 1):
            left = starts.size - count + 1
            hashes = hashes[:left]
            for byte, (value, there) in enumerate(bytes_of):
                more = (hashes ^ value[count - 1 :]) * np.uint32(16777619)
                hashes = np.where(there[count - 1 :], more, hashes) if byte else more
            if count >= self.shortest:
                inside = np.flatnonzero(word_of[:left] == word_of[count - 1 :])
                rows = (hashes[inside] % np.uint32(self.bucket)).astype(np.int64)
                rows = rows + self.words if self.rows is None else self.rows[rows]
                inside, rows = inside[rows >= 0], rows[rows >= 0]
                found.append((rows, word_of[inside]))
        return found


class _Reader:
    """Numbers and strings one after the other, little end first."""

    def __init__(self, data: memoryview):
        self.data, self.place = data, 0

    def take(self, form: str) -> tuple[Any, ...]:
        found = struct.unpack_from(form, self.data, self.place)
        self.place += struct.calcsize(form)
        return found

    def ints(self, count: int) -> tuple[int, ...]:
        return self.take(f"<{count}i")

    def word(self) -> bytes:
        """Up to the next zero byte."""
        for step in (64, 4096, len(self.data)):
            found = bytes(self.data[self.place : self.place + step]).find(0)
            if found >= 0:
                word = bytes(self.data[self.place : self.place + found])
                self.place += found + 1
                return word
        raise ValueError("a word without an end")

    def array(self, kind: str, count: int) -> Array:
        found = np.frombuffer(self.data, kind, count, self.place)
        self.place += found.nbytes
        return found

    def dense(self) -> Array:
        rows, columns = self.take("<qq")
        return self.array("<f4", rows * columns).reshape(rows, columns)

    def quantized(self) -> Array:
        """(rows, columns) decoded from a product quantizer's codes (Jégou et al. 2011), and from those of the norms."""
        normed = self.take("<b")[0]
        rows, columns = self.take("<qq")
        codes = self.array("u1", self.ints(1)[0])
        decoded = self._centroids(codes.reshape(rows, -1))
        assert decoded.shape[1] == columns
        return decoded * self._centroids(self.array("u1", rows).reshape(rows, 1)) if normed else decoded

    def _centroids(self, codes: Array) -> Array:
        dim, parts, width, last = self.ints(4)
        centroids = self.array("<f4", dim * 256)
        columns = []
        for part in range(parts):  # the last part may be narrower
            size = last if part == parts - 1 else width
            table = centroids[part * 256 * width : part * 256 * width + 256 * size].reshape(256, size)
            columns.append(table[codes[:, part]])
        return np.concatenate(columns, axis=1)


def _groups(words: list[bytes]) -> Iterator[list[bytes]]:
    """Words in lists of about PIECE bytes, so that what is worked out at once is small."""
    held: list[bytes] = []
    size = 0
    for word in words:
        held.append(word)
        size += len(word)
        if size >= PIECE:
            yield held
            held, size = [], 0
    if held:
        yield held


def _paths(counts: list[int]) -> Array:
    """(labels, depth) of what a label's probability is the product of: node n of the Huffman tree left to the right (n), or
    to the left (n + inner nodes); then 1 (twice the inner nodes). The tree is fastText's: labels come with falling counts."""
    labels = len(counts)
    weights = [*counts, *[10**15] * (labels - 1)]
    parent, right = [-1] * (2 * labels - 1), [False] * (2 * labels - 1)
    leaf, node = labels - 1, labels
    for inner in range(labels, 2 * labels - 1):
        lowest = []
        for _ in range(2):
            if leaf >= 0 and weights[leaf] < weights[node]:
                lowest.append(leaf)
                leaf -= 1
            else:
                lowest.append(node)
                node += 1
        weights[inner] = weights[lowest[0]] + weights[lowest[1]]
        parent[lowest[0]] = parent[lowest[1]] = inner
        right[lowest[1]] = True
    paths = []
    for label in range(labels):
        path, place = [], label
        while parent[place] >= 0:
            path.append(parent[place] - labels + (0 if right[place] else labels - 1))
            place = parent[place]
        paths.append(path)
    depth = max(map(len, paths))
    return np.array([path + [2 * (labels - 1)] * (depth - len(path)) for path in paths], np.int64).reshape(labels, depth)
