"""What a search box offers while one types: the most popular phrases that begin so, and where nobody asked for such a
one, what a language model of characters would write.

    p(phrase | prefix) = λ · n(phrase) / n(prefix) + (1 - λ) · p_ngram(rest | prefix),     λ = C / (C + T)

C is how often phrases with this prefix were asked for, T how many different ones (Witten & Bell 1991); most-popular
completion and its measures follow Bar-Yossef & Kraus 2011 and Cai & de Rijke 2016. Known phrases are ranked by their
count and the first term alone, a lower bound of p; the n-gram model speaks only where no phrase is known.

Phrases are matched as they are meant, not as they are typed: NFKC, case folded, runs of white space one space; shown is
the form that was written most often. Sorted by their UTF-8 bytes, the phrases with a prefix are a range, found by binary
search (an implicit trie), and the k largest counts of a range are found with a sparse table of maxima (Bender &
Farach-Colton 2000), however wide it is. Chinese is completed character by character as it stands, without pinyin.

The model is also the language model that it backs off to: it can be scored, sampled from and served like an n-gram.
"""

from __future__ import annotations

import heapq
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
from pydantic import Field

from yanmo.core.errors import CorruptError, DataError
from yanmo.core.messages import text
from yanmo.models.base import Inputs
from yanmo.models.grams import Array
from yanmo.models.ngram import NgramFamily, NgramLanguageModel, NgramModel
from yanmo.models.trie import Trie, mapped
from yanmo.models.weights.tensors import Held
from yanmo.models.weights.writing import write_file

if TYPE_CHECKING:
    from yanmo.text.tokenizer import Tokenizer

PHRASES = "phrases.safetensors"
NEW = 16  # tokens that the language model adds at most


class CompletionModel(NgramModel):
    """Completes what is typed into a search box: each line of the corpus is a query or a phrase."""

    order: int = Field(6, ge=1, le=32, description="the longest n-gram of the model that it backs off to, in tokens")
    min_count: int = Field(1, ge=1, description="how often a phrase must stand there to be offered")
    longest: int = Field(64, ge=2, description="characters of a phrase; longer lines teach the n-gram model alone")

    def fit(
        self, tokens: Any, tokenizer: Tokenizer, folder: Path, log: Callable[..., None] | None = None
    ) -> CompletionLanguageModel:
        """Counts the lines of every document of `tokens.tokens`."""
        lines = list(_lines(np.asanyarray(tokens.tokens), tokenizer))
        if not lines:
            raise DataError(text("the training tokens"), text("some text"), text("none"), text("give the corpus more text"))
        ids = [token for row in tokenizer.encode_batch(lines) for token in (tokenizer.eos_id, *row)]
        model = super().fit(Lines(np.array(ids, np.uint32)), tokenizer, folder, log)
        return CompletionLanguageModel(model.trie, Phrases.of(lines, self.min_count, self.longest))


@dataclass(frozen=True)
class Lines:
    tokens: Array


class Completion(NamedTuple):
    """A phrase that begins with what was typed, and the share of those who typed it that would mean it."""

    text: str
    probability: float


class CompletionLanguageModel(NgramLanguageModel):
    """Phrases with their counts, over an n-gram model of the tokenizer's tokens."""

    family = "yanmo_completion"

    def __init__(self, trie: Trie, phrases: Phrases):
        super().__init__(trie)
        self.phrases = phrases

    def complete(self, prefix: str, k: int = 10, tokenizer: Tokenizer | None = None) -> list[Completion]:
        """At most `k`, the most probable first; for an empty prefix the most popular phrases. With the `tokenizer` that the
        model was made with, something is offered for prefixes that no phrase has."""
        found = self.phrases.complete(prefix, k)
        return found if found or tokenizer is None or not prefix.strip() else self._written(prefix, k, tokenizer)

    def _written(self, prefix: str, k: int, tokenizer: Tokenizer) -> list[Completion]:
        """What the n-gram model would write after the prefix, by a beam of `k`: up to a border, or NEW tokens on."""
        row = torch.tensor([[tokenizer.eos_id, *tokenizer.encode(" ".join(prefix.split()) + " " * prefix[-1:].isspace())]])
        nodes = self.contexts(Inputs(row), None)[0, -1:]
        logs, beams, done = np.zeros(1), [[]], []  # type: ignore[var-annotated]
        banned = [token for token in tokenizer.special.values() if token != tokenizer.eos_id]
        for _ in range(NEW):
            scores = self.distributions(nodes) + logs[:, None]
            scores[:, banned] = -np.inf
            done += [(float(scores[i, tokenizer.eos_id]), beam) for i, beam in enumerate(beams) if beam]
            done = heapq.nlargest(k, done, key=lambda item: item[0])
            scores[:, tokenizer.eos_id] = -np.inf
            flat = scores.reshape(-1)
            best = np.argpartition(flat, -k)[-k:] if len(flat) > k else np.arange(len(flat))
            if len(done) == k:
                best = best[flat[best] > done[-1][0]]  # the others can only become less probable
            if not len(best):
                break
            rows, tokens = np.divmod(best, scores.shape[1])
            beams = [[*beams[i], int(token)] for i, token in zip(rows, tokens)]
            logs = flat[best].astype(np.float64)
            nodes = self._extended(nodes[rows], tokens)
        texts: dict[str, float] = {}
        for log, beam in done:
            whole = " ".join(prefix.split()) + " " * prefix[-1:].isspace() + tokenizer.decode(beam)
            texts.setdefault(whole, float(np.exp(log)))
        return [Completion(whole, p) for whole, p in texts.items()]

    def _extended(self, nodes: Array, tokens: Array) -> Array:
        """The contexts (n, order - 1) behind one more token each."""
        longer = np.zeros_like(nodes)
        if nodes.shape[1]:
            longer[:, 0] = tokens + 1
            longer[:, 1:] = self.trie.find(nodes[:, :-1], np.broadcast_to(tokens[:, None], nodes[:, 1:].shape))
        return longer


@dataclass
class Phrases:
    """P phrases sorted by `keys`: one behind the other in UTF-8, `ends` where each ends. `shown` likewise, how they are
    written. `counts` (P,) uint32 is how often each was asked for."""

    keys: Array  # uint8
    ends: Array  # (P,) int64
    shown: Array  # uint8
    shown_ends: Array  # (P,) int64
    counts: Array

    @classmethod
    def of(cls, lines: Iterable[str], min_count: int = 1, longest: int = 64) -> Phrases:
        """Of phrases, each as often as it was asked for."""
        counts: Counter[str] = Counter()
        for line in lines:
            tidy = " ".join(line.split())
            if 0 < len(tidy) <= longest:
                counts[tidy] += 1
        forms: dict[bytes, list[Any]] = {}  # key → [count, the most frequent form, its count]
        for form, count in sorted(counts.items(), key=lambda item: (-item[1], item[0])):
            entry = forms.setdefault(folded(form).encode("utf-8", "replace"), [0, form.encode("utf-8", "replace")])
            entry[0] += count
        chosen = sorted((key, entry) for key, entry in forms.items() if key and entry[0] >= min_count)
        keys, shown = [key for key, _ in chosen], [entry[1] for _, entry in chosen]
        return cls(_bytes(keys), _ends(keys), _bytes(shown), _ends(shown), np.array([e[0] for _, e in chosen], np.uint32))

    def __len__(self) -> int:
        return len(self.counts)

    def complete(self, prefix: str, k: int = 10) -> list[Completion]:
        """The `k` most frequent phrases with this prefix, the first in the alphabet among equals."""
        low, high = self.range(prefix)
        if low == high:
            return []
        total = int(self._running[high] - self._running[low])
        scale = 1.0 / (total + high - low)  # λ / n(prefix) with λ = C / (C + T)
        return [Completion(self.text(place), int(self.counts[place]) * scale) for place in self.largest(low, high, k)]

    def range(self, prefix: str) -> tuple[int, int]:
        """The phrases [low, high) that begin with `prefix`."""
        key = folded(prefix).encode("utf-8", "replace")
        return self._bound(key, False), self._bound(key, True)

    def _bound(self, key: bytes, behind: bool) -> int:
        """The first phrase that is not below `key`, or the first one behind all that begin with it."""
        low, high, size = 0, len(self), len(key)
        data, ends = self._data, self.ends
        while low < high:
            middle = (low + high) // 2
            start = int(ends[middle - 1]) if middle else 0
            head = bytes(data[start : min(start + size, int(ends[middle]))])
            if head < key or (behind and head == key):
                low = middle + 1
            else:
                high = middle
        return low

    def largest(self, low: int, high: int, k: int) -> list[int]:
        """The places of the `k` largest counts in [low, high), largest first."""
        found: list[int] = []
        heap = [self._top(low, high)] if low < high else []
        while heap and len(found) < k:
            _, place, begin, end = heapq.heappop(heap)
            found.append(place)
            for part in ((begin, place), (place + 1, end)):
                if part[0] < part[1]:
                    heapq.heappush(heap, self._top(*part))
        return found

    def _top(self, low: int, high: int) -> tuple[int, int, int, int]:
        """(-count, place, low, high) of the largest count of a range: of the two overlapping halves whose maxima are known."""
        level = (high - low).bit_length() - 1
        a, b = int(self._maxima[level][low]), int(self._maxima[level][high - (1 << level)])
        first, second = int(self.counts[a]), int(self.counts[b])
        place = a if first >= second else b
        return -max(first, second), place, low, high

    def text(self, place: int) -> str:
        start = int(self.shown_ends[place - 1]) if place else 0
        return bytes(self.shown[start : int(self.shown_ends[place])]).decode("utf-8", "replace")

    @cached_property
    def _data(self) -> memoryview:
        return memoryview(np.ascontiguousarray(self.keys).data)

    @cached_property
    def _running(self) -> Array:
        return np.concatenate([[0], np.cumsum(self.counts, dtype=np.int64)])

    @cached_property
    def _maxima(self) -> list[Array]:
        """Of level j, for each place the first of the largest counts among the 2ʲ from it on."""
        levels = [np.arange(len(self), dtype=np.int32)]
        while 2 << (len(levels) - 1) <= len(self):
            before, half = levels[-1], 1 << (len(levels) - 1)
            a, b = before[:-half], before[half:]
            levels.append(np.where(self.counts[a] >= self.counts[b], a, b))
        return levels

    def arrays(self) -> dict[str, Array]:
        return {"keys": self.keys, "ends": self.ends, "shown": self.shown, "shown_ends": self.shown_ends, "counts": self.counts}

    @classmethod
    def opened(cls, path: Path) -> Phrases:
        """Maps a saved list. CorruptError where its arrays do not fit together."""
        found = mapped(path)
        kinds = {"keys": "u1", "ends": "i8", "shown": "u1", "shown_ends": "i8", "counts": "u4"}
        sound = {name: str(value.dtype.str[1:]) for name, value in found.items() if value.ndim == 1} == kinds
        sound = sound and len(found["ends"]) == len(found["shown_ends"]) == len(found["counts"])
        for data, ends in (("keys", "ends"), ("shown", "shown_ends")) if sound else ():
            steps = np.diff(found[ends], prepend=0)
            sound = sound and int(steps.sum()) == len(found[data]) and bool((steps >= 0).all())
        if not sound:
            raise CorruptError(str(path), text("the arrays of a list of phrases: {names}", names=", ".join(kinds)),
                               ", ".join(sorted(found)[:8]))  # fmt: skip
        return cls(**found)


class CompletionFamily(NgramFamily):
    """Completion models: the n-gram model, and the phrases in phrases.safetensors."""

    def write(self, model: Any, folder: Path) -> dict[str, Any]:
        arrays = {name: torch.from_numpy(value) for name, value in model.phrases.arrays().items()}
        write_file(folder / PHRASES, Held(arrays), list(arrays))
        return super().write(model, folder) | {"architectures": ["YanmoCompletionForCausalLM"], "phrases": len(model.phrases)}

    def read(self, folder: Path, config: dict[str, Any]) -> CompletionLanguageModel:
        return CompletionLanguageModel(super().read(folder, config).trie, Phrases.opened(folder / PHRASES))


def folded(phrase: str) -> str:
    """A phrase or the beginning of one as it is matched; white space at the end of a beginning is one space."""
    tail = " " if phrase[-1:].isspace() and phrase.strip() else ""
    return " ".join(unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", phrase).casefold()).split()) + tail


def measure(complete: Callable[[str, int], Sequence[Completion]], queries: Iterable[str], k: int = 10,
            lengths: Sequence[int] | None = None) -> dict[str, float]:  # fmt: skip
    """How well held-out queries are guessed from their beginnings: `mrr` (the mean of 1 / rank among the first `k`, 0 where
    it is not among them), `success_at_1`, `success_at_k`, over `n` pairs of a query and a beginning of it.

    `lengths`: characters of the beginnings; None: each from one character to all but the last. Matched as `folded`."""
    ranks: list[float] = []
    for query in queries:
        tidy = " ".join(query.split())
        wanted = folded(tidy)
        for length in range(1, len(tidy)) if lengths is None else (length for length in lengths if length < len(tidy)):
            offered = [folded(found.text) for found in complete(tidy[:length], k)][:k]
            ranks.append(1 / (offered.index(wanted) + 1) if wanted in offered else 0.0)
    count = max(len(ranks), 1)
    return {"mrr": sum(ranks) / count, "success_at_1": sum(rank == 1 for rank in ranks) / count,
            f"success_at_{k}": sum(rank > 0 for rank in ranks) / count, "n": len(ranks)}  # fmt: skip


def _lines(stream: Array, tokenizer: Tokenizer) -> Iterator[str]:
    """The lines of every document that are not blank."""
    for document in np.split(stream, np.flatnonzero(stream == tokenizer.eos_id)):
        for line in tokenizer.decode(document.tolist()).splitlines():
            if line.strip():
                yield " ".join(line.split())


def _bytes(parts: list[bytes]) -> Array:
    return np.frombuffer(b"".join(parts), np.uint8).copy()


def _ends(parts: list[bytes]) -> Array:
    return np.cumsum([len(part) for part in parts], dtype=np.int64) if parts else np.zeros(0, np.int64)
