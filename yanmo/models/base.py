"""What every language model is: n-gram, LSTM or Transformer, trained here or loaded.

What a model must remember between tokens is a dict of tensors (`state`): keys and values for attention, h and c for
an LSTM, the last tokens for an n-gram. Whoever runs the model (the engine) allocates it and hands it in as `Slots`, so
that one engine batches every kind of model.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Protocol, cast

import torch
from torch import Tensor, nn

from yanmo.core.config import Part
from yanmo.nn.heads import Reduce, language_head
from yanmo.nn.pooling import last

if TYPE_CHECKING:
    from yanmo.text.tokenizer import Tokenizer


@dataclass
class Inputs:
    """A batch of rows. Shapes: B rows, T positions, D width."""

    tokens: Tensor  # (B, T) int64
    positions: Tensor | None = None  # (B, T) int64; None: counted from the slots' lengths, or from 0
    documents: Tensor | None = None  # (B, T) int64: which document of the row a token belongs to (packing); None: one
    types: Tensor | None = None  # (B, T) int64: sentence A or B (BERT)
    mask: Tensor | None = None  # (B, T) bool: True where there is a token, False for padding (on the right)
    # Who sees whom, where it is neither "up to its own position" nor "all": each of them a matter of its objective.
    order: Tensor | None = None  # (B, T) int64: each position's rank in a factorisation order (XLNet), 0 first; two streams:
    #                              the content at a position sees ranks up to its own, the query that predicts it only lower
    #                              ones; equal ranks see each other as content. Padding has the highest ranks of its row
    prefix: Tensor | None = None  # (B,) int64: the first so many positions see each other both ways, the others are causal
    source: Inputs | None = None  # the encoder's inputs
    embeddings: Tensor | None = None  # (B, T, D) instead of looking tokens up
    before: Tensor | None = None  # (B, S) int64: the text before the first position, -1 where there is none (on the left); for
    #                               models that look back beyond their context (`recalls`)


@dataclass
class Output:
    logits: Tensor | None = None  # (B, T, V), or (N, V) for the N positions that `select` picks; None when reduced
    hidden: Tensor | None = None  # (B, T, D): after the last norm
    reduced: Any = None  # what `reduce` gave, concatenated over the chunks
    penalty: Tensor | None = None  # what training adds to the mean loss: experts that are used unevenly


@dataclass(frozen=True)
class StateSpec:
    """One tensor that a model remembers for a row: `shape` per token (keys, values) or per row (h, c, last tokens)."""

    shape: tuple[int, ...]
    dtype: torch.dtype
    per_token: bool
    fill: float = 0.0  # the value of a fresh row


class Slots(Protocol):
    """The rows of state that one forward pass reads and extends; made and owned by the engine.

    `lengths` are the tokens already remembered *before* this pass. For a per-token tensor `write` puts the new entries
    (B, T, *shape) behind them and `read` gives (B, S, *shape), S = longest + T at most, including what was written in
    this pass; for a per-row tensor both are (B, *shape). Positions past a row's own length are garbage: mask them by
    `lengths`. The dense ones are yanmo.nn.state.DenseSlots.
    """

    @property
    def rows(self) -> Tensor: ...  # (B,) int64: which slot each row of the batch is

    @property
    def lengths(self) -> Tensor: ...  # (B,) int64

    @property
    def longest(self) -> int: ...  # max of lengths

    @property
    def even(self) -> bool: ...  # whether all lengths are the same

    def read(self, name: str) -> Tensor: ...
    def write(self, name: str, value: Tensor) -> None: ...


class LanguageModel(nn.Module):
    """A distribution over the next token. Causal kinds see positions up to their own, masked kinds the whole row."""

    kind: str = "causal"  # or "masked", "permuted", "encoder-decoder"
    trainable: ClassVar[bool] = True
    recalls: bool = False  # whether it looks back beyond its context (`Inputs.before`)
    family: str = ""  # the `model_type` it is saved as: a name of the registry kind "family"
    vocabulary: int  # V
    context: int | None  # the longest row that the model takes; None: any
    width: int | None = None  # D, where there is a hidden state
    head: nn.Module | None  # (V, D); None where it is the embedding's
    made_by: str | None = None  # the objective of a loaded model's first training, where that says how it is read
    starts: int | None = None  # the token that a loaded encoder-decoder's decoder begins with

    def state(self) -> dict[str, StateSpec]:
        raise NotImplementedError

    def forward(
        self, inputs: Inputs, slots: Slots | None = None, *, select: Tensor | None = None, reduce: Reduce | None = None
    ) -> Output:
        """Logits for every position, or for those that `select` (B, T) bool picks (in row order).

        `reduce(logits (n, V) fp32, positions (n,) int64 into the selected ones)` is called chunk by chunk instead of
        returning logits, so that a long batch never holds all of them; its tensors are concatenated along dimension 0.
        With `slots`, the rows go on from what those remember and their state is extended by this pass. This one serves
        every model with hidden states: the head, or the embedding where the two are tied, is put behind `encode`.
        """
        hidden = self.encode(inputs, slots)
        head = self.get_submodule("embedding" if self.head is None else "head")
        logits, reduced = language_head(hidden, cast(Tensor, head.weight), select, reduce)
        return Output(logits, hidden, reduced)

    def encode(self, inputs: Inputs, slots: Slots | None = None) -> Tensor:
        """The hidden states (B, T, D) alone, without logits: for classifiers, embeddings and explanations."""
        raise NotImplementedError

    def states(self, inputs: Inputs) -> Tensor:
        """(B, T, D), what the model has of each token of a row that is there as a whole: for what is said about tokens."""
        return self.encode(inputs)

    def pool(self, inputs: Inputs) -> Tensor:
        """(B, D), what stands for a row when it is labelled: the hidden state of its last token, which has read all of it,
        unless a model knows better."""
        return last(self.encode(inputs), inputs.mask)

    def regions(self) -> list[nn.Module]:
        """The submodules that torch.compile pays for, each called with tensors of one shape; compiled alone, layers
        that are alike share one compilation."""
        return []

    def logprobs(self, inputs: Inputs, targets: Tensor) -> Tensor:
        """log p(target | what precedes it) in nats, (B, T) float32, for targets (B, T); count models look it up."""
        flat = targets.reshape(-1)

        def pick(logits: Tensor, positions: Tensor) -> Tensor:
            return logits.log_softmax(-1).gather(-1, flat[positions].unsqueeze(-1)).squeeze(-1)

        return self(inputs, reduce=pick).reduced.view(targets.shape)


class ModelPart(Part):
    """A model's settings in a recipe: how to make a fresh one."""

    counted: ClassVar[bool] = False  # fitted by counting (`fit`), not by gradient (`build`)
    tasks: ClassVar[tuple[str, ...]] = ()  # of a baseline: what it is fitted on in one go (`fit_texts`, `fit_task`)
    headless: ClassVar[bool] = False  # gives no next token: only the backbone of a task's head

    @classmethod
    def language(cls) -> bool:
        """Whether text alone makes it, in a `pretrain` stage; a baseline and a bare backbone need a task."""
        return not cls.tasks and not cls.headless

    def build(self, tokenizer: Tokenizer, rng: torch.Generator, context: int | None = None) -> LanguageModel:
        """A fresh model with parameters drawn from `rng` alone; `context` is what the stage trains with."""
        raise NotImplementedError

    def fit(
        self, tokens: Any, tokenizer: Tokenizer, folder: Path, log: Callable[..., None] | None = None
    ) -> LanguageModel:
        """Count models: made from the training tokens (a yanmo.corpus.tokens.TokenShards split) in one go."""
        raise NotImplementedError

    def fit_texts(self, texts: Sequence[str], labels_of_texts: Sequence[str], labels: list[str]) -> TextClassifier:
        """Classifiers: made from texts and the label of each; `labels` are all there are, in the order of the scores."""
        raise NotImplementedError


@dataclass
class Loaded:
    """A model directory, opened."""

    model: Any  # LanguageModel, Classifier, Tagger, Reader or TextClassifier
    tokenizer: Tokenizer | None
    config: dict[str, Any]  # config.json as it is
    folder: Path
    labels: list[str] = field(default_factory=list)  # of a classifier or tagger, in the order of its scores
    beside: dict[Any, Any] = field(default_factory=dict, compare=False, repr=False)  # opened beside it, to be asked again

    @property
    def head(self) -> str:
        """The head of the tasks that the model was made for: 'classify', 'tag', 'span', of a language model 'text'."""
        if hasattr(self.model, "gives"):
            return self.model.gives
        does = next((head for head, verb in (("tag", "tag"), ("span", "answer")) if hasattr(self.model, verb)), "")
        return does or ("classify" if self.labels else "text")

    @property
    def generates(self) -> bool:
        return isinstance(self.model, LanguageModel) and not self.labels


class TextClassifier:
    """A model that labels texts without a hidden state of ours: majority class, TF-IDF + logistic regression."""

    gives: ClassVar[str] = "classify"
    family: str = ""  # as for a LanguageModel
    labels: list[str]

    def probabilities(self, texts: list[str]) -> Any:
        """(N, labels) float64 numpy array, rows summing to 1."""
        raise NotImplementedError
