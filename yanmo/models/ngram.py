"""The n-gram language model: interpolated modified Kneser-Ney over a trie (kneser_ney.py counts it, trie.py holds it).

A floor that is hard to beat at small budgets, made in seconds, and a model like any other: the engine batches it, the
sampler draws from it, evaluation scores it. What it remembers of a row are its last order - 1 tokens.

    p(w | h) = share(h w) + γ(h) p(w | h')          share(h w) = (c(h w) - D) / c(h •), and 0 where h w was never seen

So one walk from the empty context to the longest gives a token's probability (`logprobs`), or, adding the shares of all
children of each context to the scaled vector of the shorter one, the whole distribution (`forward`). A model read from
an ARPA file (arpa.py) backs off instead of mixing; written as shares, which may then be below 0, it is the same walk.

Counting takes as much memory as `memory` says; what does not fit is sorted on disk, and the model is the same to the bit.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import torch
from pydantic import Field, field_validator
from torch import Tensor

from yanmo.core.errors import DataError
from yanmo.core.files import TEMPORARY
from yanmo.core.messages import text
from yanmo.models.base import Inputs, LanguageModel, ModelPart, Output, Reduce, Slots, StateSpec
from yanmo.models.families.family import needs
from yanmo.models.grams import Array
from yanmo.models.kneser_ney import PER_TOKEN, count, estimate
from yanmo.models.trie import Trie

if TYPE_CHECKING:
    from yanmo.text.tokenizer import Tokenizer

TINY = 1e-37  # the least probability: a float32 above 0
CHUNK = 2**22  # probabilities held at once while a distribution is made: 16 MB
UNITS = {"": 1, "K": 10, "M": 20, "G": 30, "T": 40}
SIZE = re.compile(r"(\d+(?:\.\d+)?) ?(?:([KMGT])i?B?|B)?", re.IGNORECASE)


class NgramModel(ModelPart):
    """Interpolated modified Kneser-Ney, counted from the training tokens in one go."""

    counted: ClassVar[bool] = True
    execution: ClassVar[frozenset[str]] = frozenset({"memory"})

    order: int = Field(5, ge=1, le=32, description="the longest n-gram, in tokens")
    prune: list[int] | None = Field(
        default=None,
        min_length=1,
        description="the least count of an n-gram of length 1, 2, … that is kept, the last for all longer ones: [1, 1, 2]",
    )
    memory: str = Field(default="256 MiB", description="what counting may hold; beyond it, the disk is used")

    @field_validator("prune")
    @classmethod
    def _rising(cls, value: list[int] | None) -> list[int] | None:
        if value is not None and (value[0] != 1 or sorted(value) != value):
            raise ValueError(str(text("whole numbers that begin with 1 and do not fall")))
        return value

    @field_validator("memory")
    @classmethod
    def _size(cls, value: str) -> str:
        found = SIZE.fullmatch(value.strip())
        if not found or float(found[1]) * 2.0 ** UNITS[(found[2] or "").upper()] < 2**20:
            raise ValueError(str(text("a size of at least 1 MiB, such as '512 MiB' or '4 GiB'")))
        return value

    @property
    def bytes(self) -> int:
        """`memory` as a number."""
        found = SIZE.fullmatch(self.memory.strip())
        assert found is not None
        return int(float(found[1]) * (1 << UNITS[(found[2] or "").upper()] if found[2] else 1))

    def fit(self, tokens: Any, tokenizer: Tokenizer, folder: Path, log: Callable[..., None] | None = None) -> NgramLanguageModel:
        """Counts `tokens.tokens` (each document begun by the border). `log(1, order=k, ngrams=M)` after each order."""
        stream = np.asanyarray(tokens.tokens)
        if not len(stream):
            raise DataError(text("the training tokens"), text("some tokens"), text("none"), text("give the corpus more text"))
        place = Path(folder) / f"{TEMPORARY}ngram" if len(stream) * PER_TOKEN > self.bytes else None
        if place is not None:
            shutil.rmtree(place, ignore_errors=True)
            place.mkdir(parents=True)
        try:
            levels = count(stream, tokenizer.size, tokenizer.eos_id, self.order, log, folder=place, memory=self.bytes)
            return NgramLanguageModel(estimate(levels, self.prune, place))
        finally:
            if place is not None:  # what the model maps stays readable until it is gone
                shutil.rmtree(place, ignore_errors=True)


class NgramLanguageModel(LanguageModel):
    """The counted model."""

    kind = "causal"
    trainable = False
    family = "yanmo_ngram"
    context = None

    def __init__(self, trie: Trie):
        super().__init__()
        self.trie = trie
        self.order, self.vocabulary, self.ngrams = trie.order, trie.vocabulary, trie.ngrams

    def state(self) -> dict[str, StateSpec]:
        """The nodes of the last 1, 2, … order - 1 tokens of a row."""
        return {"nodes": StateSpec((self.order - 1,), torch.int64, per_token=False)} if self.order > 1 else {}

    def forward(
        self, inputs: Inputs, slots: Slots | None = None, *, select: Tensor | None = None, reduce: Reduce | None = None
    ) -> Output:
        """Log-probabilities, float32 (they are logits whose exponentials sum to 1), made chunk by chunk of positions."""
        shape, device = inputs.tokens.shape, inputs.tokens.device
        nodes = self.contexts(inputs, slots).reshape(shape.numel(), self.order - 1)
        if select is not None:
            nodes = nodes[select.reshape(-1).cpu().numpy()]
        rows = max(CHUNK // self.vocabulary, 1)
        parts: list[Any] = []
        for start in range(0, max(len(nodes), 1), rows):
            logits = torch.from_numpy(self.distributions(nodes[start : start + rows])).to(device)
            if reduce is None:
                parts.append(logits)
            else:
                parts.append(reduce(logits, torch.arange(start, start + len(logits), device=device)))
        whole = torch.cat(parts) if len(parts) > 1 else parts[0]
        if reduce is not None:
            return Output(reduced=whole)
        return Output(logits=whole if select is not None else whole.view(*shape, self.vocabulary))

    def logprobs(self, inputs: Inputs, targets: Tensor) -> Tensor:
        """log p(target | what precedes it), (B, T) float32, by looking the targets up: no distribution is made."""
        found = self.probabilities(inputs, targets.cpu().numpy())
        return torch.from_numpy(np.log(np.maximum(found, TINY)).astype(np.float32)).to(targets.device)

    def probabilities(self, inputs: Inputs, wanted: Array) -> Array:
        """p(wanted | what precedes it), (B, T) float64."""
        tokens = inputs.tokens.cpu().numpy()
        probability = self.trie.unigram[wanted].astype(np.float64)
        new = begins(inputs)
        elsewhere = wanted[:, :-1] != tokens[:, 1:]  # mostly nowhere: a target is the next position's token
        nodes = tokens + 1
        for length in range(1, self.order):
            child = self.trie.find(nodes, wanted)
            probability *= self.trie.gamma[nodes]
            probability += self.trie.share[child]
            if length + 1 < self.order:
                following = self.trie.find(nodes[:, :-1][elsewhere], tokens[:, 1:][elsewhere])
                nodes = np.zeros_like(nodes)
                nodes[:, 1:] = child[:, :-1]
                nodes[:, 1:][elsewhere] = following
                nodes[new] = 0
        return probability

    # ------------------------------------------------------------------------------------------------ the walk

    def contexts(self, inputs: Inputs, slots: Slots | None) -> Array:
        """The nodes of the last 1 … order - 1 tokens at every position, (B, T, order - 1) int64."""
        tokens = inputs.tokens.cpu().numpy()
        rows, width = tokens.shape
        longest = self.order - 1
        nodes = np.zeros((rows, width, longest), np.int64)
        if not longest:
            return nodes
        before = np.zeros((rows, longest), np.int64) if slots is None else slots.read("nodes").cpu().numpy()
        nodes[:, :, 0] = tokens + 1
        if width == 1:  # every longer context is a child of one that is remembered: one search for all
            nodes[:, 0, 1:] = self.trie.find(before[:, :-1], np.broadcast_to(tokens, (rows, longest - 1)))
        else:
            new = begins(inputs)
            for length in range(1, longest):
                shorter = np.concatenate([before[:, length - 1 : length], nodes[:, :-1, length - 1]], 1)
                shorter[new] = 0
                nodes[:, :, length] = self.trie.find(shorter, tokens)
        if slots is not None:
            last = nodes[:, -1]
            if inputs.mask is not None:
                lengths = inputs.mask.sum(1).cpu().numpy()
                last = np.where(lengths[:, None] > 0, nodes[np.arange(rows), lengths - 1], before)
            slots.write("nodes", torch.from_numpy(last).to(inputs.tokens.device))
        return nodes

    def distributions(self, nodes: Array) -> Array:
        """(n, V) float32 log-probabilities after contexts (n, order - 1): Σ over lengths of share × the γ of longer ones."""
        gamma = self.trie.gamma[nodes]
        scale = np.ones((len(nodes), self.order), np.float32)  # of the unigrams, of the bigrams, …
        scale[:, :-1] = np.cumprod(gamma[:, ::-1], 1)[:, ::-1]
        mixed = scale[:, :1] * self.trie.unigram
        low = self.trie.first[nodes].astype(np.int64)
        size = self.trie.first[nodes + 1] - low
        for length in range(1, self.order):
            sizes, lows = size[:, length - 1], low[:, length - 1]
            if not sizes.any():
                continue
            children = np.arange(sizes.sum()) + np.repeat(lows - (np.cumsum(sizes) - sizes), sizes)
            rows = np.repeat(np.arange(len(nodes)), sizes)
            mixed[rows, self.trie.tokens[children]] += self.trie.share[children] * scale[rows, length]
        np.maximum(mixed, TINY, out=mixed)  # a model that backs off has shares below 0, and rounding
        return np.log(mixed, out=mixed)

    def trust(self, nodes: Array) -> Array:
        """(n, 3) float32, how far the counts of contexts (n, order - 1) are to be believed: the length of the longest after which
        something was seen, as a share of the longest there are; ln γ there, and ln γ one token shorter (0: nothing known)."""
        gamma = np.log(np.maximum(self.trie.gamma[nodes], TINY)).astype(np.float32)
        seen = (nodes > 0) & (gamma < 0)
        lengths = (seen * np.arange(1, self.order)).max(1, initial=0)
        padded = np.concatenate([np.zeros((len(nodes), 2), np.float32), gamma], 1)  # of none, and of the empty one
        rows, share = np.arange(len(nodes)), lengths / max(self.order - 1, 1)
        return np.stack([share, padded[rows, lengths + 1], padded[rows, lengths]], 1).astype(np.float32)


class NgramFamily:
    """n-gram models: the trie's arrays in model.safetensors, mapped when it is opened."""

    def write(self, model: NgramLanguageModel, folder: Path) -> dict[str, Any]:
        model.trie.save(folder)
        return {
            "architectures": ["YanmoNgramForCausalLM"],
            "model_type": model.family,
            "order": model.order,
            "vocab_size": model.vocabulary,
            "ngrams": model.ngrams,
            "discounts": model.trie.discounts,
        }

    def read(self, folder: Path, config: dict[str, Any]) -> NgramLanguageModel:
        """CorruptError where the arrays do not make the trie that config.json describes."""
        needs(config, str(folder / "config.json"), "order", "vocab_size", "ngrams")
        if type(config["order"]) is not int or not 1 <= config["order"] <= 64:  # lists of as many numbers are made
            wanted = text("a whole number from 0 to {most}, by the tensors that are there", most=64)
            raise DataError(f"{folder / 'config.json'}: order", wanted, str(config["order"])[:40])
        return NgramLanguageModel(
            Trie.opened(folder, config["order"], config["vocab_size"], config["ngrams"], config.get("discounts"))
        )


def begins(inputs: Inputs) -> Array:
    """(B, T) bool: where the next document of a packed row begins."""
    found = np.zeros(inputs.tokens.shape, bool)
    if inputs.documents is not None:
        documents = inputs.documents.cpu().numpy()
        found[:, 1:] = documents[:, 1:] != documents[:, :-1]
    return found
