"""The n-gram language model: interpolated modified Kneser-Ney over a trie of counts (kneser_ney.py makes the counts).

A floor that is hard to beat at small budgets, made in seconds, and a model like any other: the engine batches it, the
sampler draws from it, evaluation scores it. What it remembers of a row are its last order - 1 tokens.

On disk it is whole numbers in the narrowest types that hold them: a token (1, 2 or 4 bytes), a count (mostly 1 or 2) and,
below the highest order, how many n-grams extend it (mostly 1 or 2), so 3 to 6 bytes an n-gram, the same bytes every time;
the discounts stand in config.json. Opened, which takes under a second for ten million, each has its token and a share
(float32), and each context where its children begin (int32) and its γ (float32): 5 to 16 bytes an n-gram in memory.

    p(w | h) = share(h w) + γ(h) p(w | h')          share(h w) = (c(h w) - D) / c(h •), and 0 where h w was never seen

So one walk from the empty context to the longest gives a token's probability (`logprobs`), or, adding the shares of all
children of each context to the scaled vector of the shorter one, the whole distribution (`forward`).
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import torch
from pydantic import Field, field_validator
from torch import Tensor

from yanmo.core.errors import CorruptError, DataError
from yanmo.core.messages import text
from yanmo.models.base import Inputs, LanguageModel, ModelPart, Output, Reduce, Slots, StateSpec
from yanmo.models.families.family import needs
from yanmo.models.kneser_ney import LONGEST_STREAM, Array, Level, count
from yanmo.models.weights.folder import WEIGHTS, read_tensors

if TYPE_CHECKING:
    from yanmo.text.tokenizer import Tokenizer

CHUNK = 2**22  # probabilities held at once while a distribution is made: 16 MB


class NgramModel(ModelPart):
    """Interpolated modified Kneser-Ney, counted from the training tokens in one go."""

    counted: ClassVar[bool] = True

    order: int = Field(5, ge=1, le=32, description="the longest n-gram, in tokens")
    prune: list[int] | None = Field(
        None,
        min_length=1,
        description="the least count of an n-gram of length 1, 2, … that is kept, the last for all longer ones: [1, 1, 2]",
    )

    @field_validator("prune")
    @classmethod
    def _rising(cls, value: list[int] | None) -> list[int] | None:
        if value is not None and (value[0] != 1 or sorted(value) != value):
            raise ValueError(str(text("whole numbers that begin with 1 and do not fall")))
        return value

    def fit(self, tokens: Any, tokenizer: Tokenizer, folder: Path, log: Callable[..., None] | None = None) -> NgramLanguageModel:
        """Counts `tokens.tokens` (each document begun by the border). `log(1, order=k, ngrams=M)` after each order."""
        stream = np.asarray(tokens.tokens)
        if not 0 < len(stream) <= LONGEST_STREAM:
            raise DataError(text("the training tokens"), text("between 1 and {most}", most=LONGEST_STREAM), str(len(stream)),
                            text("give the corpus a `sample` step, or more text"))  # fmt: skip
        return NgramLanguageModel(count(stream, tokenizer.size, tokenizer.eos_id, self.order, self.prune, log))


class NgramLanguageModel(LanguageModel):
    """The counted model: a trie whose nodes are numbered level by level, so that a node's children lie side by side.

    Node 0 stands for every n-gram that was never seen (share 0, γ 1, no children), token i is node i + 1. C nodes may be
    contexts, N are all.
    """

    kind = "causal"
    trainable = False
    family = "yanmo_ngram"
    context = None

    def __init__(self, levels: list[Level]):
        super().__init__()
        self.levels = levels
        self.order = len(levels)
        self.vocabulary = len(levels[0])
        total = 1 + sum(map(len, levels))
        contexts = [level for level in levels if level.children is not None]
        self.tokens = np.concatenate([np.zeros(1, np.uint8), *(level.tokens for level in levels)])  # (N,) the last one
        self.first = np.zeros(2 + sum(map(len, contexts)), np.int32 if total < 2**31 else np.int64)
        np.cumsum(np.concatenate([[1 + self.vocabulary, 0], *(level.children for level in contexts)]), out=self.first)
        self.gamma = np.ones(len(self.first) - 1, np.float32)  # (C,)
        self.share = np.zeros(total, np.float32)  # (N,)
        root = Level(np.zeros(1, np.uint8), np.ones(1, np.uint8), (0, 0, 0), np.array([self.vocabulary]))
        parents = 0
        place = 1
        for parent, level in zip([root, *contexts], levels, strict=True):
            gamma, share = _estimate(parent, level)
            self.share[place : place + len(level)] = share
            place += len(level)
            if parent is root:
                self.unigram = (share + gamma[0] / self.vocabulary).astype(np.float32)  # (V,) p(w)
                parents = 1
            else:
                self.gamma[parents : parents + len(parent)] = gamma
                parents += len(parent)

    @property
    def ngrams(self) -> list[int]:
        """How many n-grams of each length the model holds."""
        return [int(np.count_nonzero(self.levels[0].counts)), *(len(level) for level in self.levels[1:])]

    def state(self) -> dict[str, StateSpec]:
        """The nodes of the last 1, 2, … order - 1 tokens of a row."""
        return {"nodes": StateSpec((self.order - 1,), torch.int64, per_token=False)} if self.order > 1 else {}

    def forward(
        self, inputs: Inputs, slots: Slots | None = None, *, select: Tensor | None = None, reduce: Reduce | None = None
    ) -> Output:
        """Log-probabilities, float32 (they are logits whose exponentials sum to 1), made chunk by chunk of positions."""
        shape, device = inputs.tokens.shape, inputs.tokens.device
        nodes = self._contexts(inputs, slots).reshape(shape.numel(), self.order - 1)
        if select is not None:
            nodes = nodes[select.reshape(-1).cpu().numpy()]
        rows = max(CHUNK // self.vocabulary, 1)
        parts: list[Any] = []
        for start in range(0, max(len(nodes), 1), rows):
            logits = torch.from_numpy(self._distributions(nodes[start : start + rows])).to(device)
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
        tokens, wanted = inputs.tokens.cpu().numpy(), targets.cpu().numpy()
        probability = self.unigram[wanted].astype(np.float64)
        begins = _begins(inputs)
        elsewhere = wanted[:, :-1] != tokens[:, 1:]  # mostly nowhere: a target is the next position's token
        nodes = tokens + 1
        for length in range(1, self.order):
            child = self._find(nodes, wanted)
            probability *= self.gamma[nodes]
            probability += self.share[child]
            if length + 1 < self.order:
                following = self._find(nodes[:, :-1][elsewhere], tokens[:, 1:][elsewhere])
                nodes = np.zeros_like(nodes)
                nodes[:, 1:] = child[:, :-1]
                nodes[:, 1:][elsewhere] = following
                nodes[begins] = 0
        return torch.from_numpy(np.log(probability).astype(np.float32)).to(targets.device)

    # ------------------------------------------------------------------------------------------------ the walk

    def _contexts(self, inputs: Inputs, slots: Slots | None) -> Array:
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
            nodes[:, 0, 1:] = self._find(before[:, :-1], np.broadcast_to(tokens, (rows, longest - 1)))
        else:
            begins = _begins(inputs)
            for length in range(1, longest):
                shorter = np.concatenate([before[:, length - 1 : length], nodes[:, :-1, length - 1]], 1)
                shorter[begins] = 0
                nodes[:, :, length] = self._find(shorter, tokens)
        if slots is not None:
            last = nodes[:, -1]
            if inputs.mask is not None:
                lengths = inputs.mask.sum(1).cpu().numpy()
                last = np.where(lengths[:, None] > 0, nodes[np.arange(rows), lengths - 1], before)
            slots.write("nodes", torch.from_numpy(last).to(inputs.tokens.device))
        return nodes

    def _find(self, nodes: Array, tokens: Array) -> Array:
        """The child by `tokens` of each of `nodes`, or node 0 where there is none."""
        low = self.first[nodes]
        size = self.first[nodes + 1] - low
        child = np.zeros(nodes.shape, np.int64)
        live = size > 0
        low, size, wanted = low[live], size[live], tokens[live].astype(self.tokens.dtype)
        widest = int(size.max(initial=0))
        while widest > 1:  # a binary search in all ranges at once: the half below the middle is skipped or kept
            half = size >> 1
            low += np.where(self.tokens[low + np.maximum(half, 1) - 1] < wanted, half, 0)
            size -= half
            widest -= widest >> 1
        child[live] = np.where(self.tokens[low] == wanted, low, 0)
        return child

    def _distributions(self, nodes: Array) -> Array:
        """(n, V) float32 log-probabilities after contexts (n, order - 1): Σ over lengths of share × the γ of longer ones."""
        gamma = self.gamma[nodes]
        scale = np.ones((len(nodes), self.order), np.float32)  # of the unigrams, of the bigrams, …
        scale[:, :-1] = np.cumprod(gamma[:, ::-1], 1)[:, ::-1]
        mixed = scale[:, :1] * self.unigram
        low = self.first[nodes]
        size = self.first[nodes + 1] - low
        for length in range(1, self.order):
            sizes, lows = size[:, length - 1], low[:, length - 1]
            if not sizes.any():
                continue
            children = np.arange(sizes.sum()) + np.repeat(lows - (np.cumsum(sizes) - sizes), sizes)
            rows = np.repeat(np.arange(len(nodes)), sizes)
            mixed[rows, self.tokens[children]] += self.share[children] * scale[rows, length]
        return np.log(mixed, out=mixed)


class NgramFamily:
    """Count models: the trie's whole numbers in model.safetensors, the discounts in config.json."""

    def write(self, model: NgramLanguageModel, folder: Path) -> dict[str, Any]:
        from safetensors.numpy import save_file

        arrays: dict[str, Array] = {}
        for k, level in enumerate(model.levels, 1):
            arrays[f"counts.{k}"] = level.counts
            if k > 1:
                arrays[f"tokens.{k}"] = level.tokens
            if level.children is not None:
                arrays[f"children.{k}"] = level.children
            if level.pruned is not None:
                arrays[f"pruned.{k}"] = level.pruned
        save_file(arrays, folder / WEIGHTS)
        return {
            "architectures": ["YanmoNgramForCausalLM"],
            "model_type": model.family,
            "order": model.order,
            "vocab_size": model.vocabulary,
            "ngrams": model.ngrams,
            "discounts": [list(level.discounts) for level in model.levels],
        }

    def read(self, folder: Path, config: dict[str, Any]) -> NgramLanguageModel:
        """CorruptError where the arrays do not make the trie that config.json describes."""
        needs(config, str(folder / "config.json"), "vocab_size", "discounts")
        arrays = {name: tensor.numpy() for name, tensor in read_tensors(folder).items()}
        size, order = config["vocab_size"], len(config["discounts"])
        arrays["tokens.1"] = np.arange(size)
        levels = []
        for k, discounts in enumerate(config["discounts"], 1):
            names = [f"tokens.{k}", f"counts.{k}"] + ([f"children.{k}"] if k < order else [])
            if any(name not in arrays or arrays[name].shape != (size,) for name in names):
                expected = text("{size} numbers each in {names}", size=size, names=", ".join(names))
                raise CorruptError(str(folder / WEIGHTS), expected)
            level = Level(arrays[names[0]], arrays[names[1]], tuple(discounts), pruned=arrays.get(f"pruned.{k}"))
            if k < order:
                level.children = arrays[names[2]]
                size = int(level.children.sum(dtype=np.int64))
            levels.append(level)
        return NgramLanguageModel(levels)


def _begins(inputs: Inputs) -> Array:
    """(B, T) bool: where the next document of a packed row begins."""
    begins = np.zeros(inputs.tokens.shape, bool)
    if inputs.documents is not None:
        documents = inputs.documents.cpu().numpy()
        begins[:, 1:] = documents[:, 1:] != documents[:, :-1]
    return begins


def _estimate(parent: Level, level: Level) -> tuple[Array, Array]:
    """γ of the parent's nodes (M,) and the shares of their children, in float64."""
    assert parent.children is not None
    discount = np.array([0.0, *level.discounts])[np.minimum(level.counts, 3)]
    total = np.zeros(len(parent), np.int64)
    taken = np.zeros(len(parent))
    fertile = np.flatnonzero(parent.children)
    if len(fertile):
        begin = np.cumsum(parent.children, dtype=np.int64)[fertile] - parent.children[fertile]
        total[fertile] = np.add.reduceat(level.counts, begin, dtype=np.int64)
        taken[fertile] = np.add.reduceat(discount, begin)
    if parent.pruned is not None:
        total += parent.pruned
        taken += parent.pruned
    share = (level.counts - discount) / np.repeat(total, parent.children)
    return np.where(total > 0, taken / np.maximum(total, 1), 1.0), share
