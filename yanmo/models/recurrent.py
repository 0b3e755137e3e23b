"""Recurrent language models and classifiers: what the Transformer is measured against. The plain tanh network (Elman
1990; Mikolov et al. 2010), the GRU (Cho et al. 2014) and the LSTM (Hochreiter & Schmidhuber 1997; Sundermeyer et al.
2012). A row is remembered in one vector a layer, h, the LSTM's in two, h and c, however long the row is.

`depth` is the number of layers, two where nothing is said. The width follows from the dial that `complete` is given: its
layers get as many weights as the blocks of a Transformer of that depth, 12 · 64² · dial³. What goes in and what comes out
is normalised (RMSNorm): a tied embedding is small, as its other use is to give logits, and gates hardly move on inputs
so small.

Documents packed in one row must not leak into each other: the state starts fresh where a document begins. torch's
layers have no such border, so a row is cut there, and the pieces of all rows, sorted by their lengths, go through them as
one `PackedSequence`: no step is computed twice or for padding, and the longest piece, not the row, sets how many steps
follow one another. Right padding is left out the same way. Rows without borders and padding take the plain path, and
rows without borders that are read both ways on a CPU one of their own.

`bidirectional` is for labelling texts alone: half of the width reads forwards, half backwards, and what stands for the
text is the one half at its last token beside the other at its first. Training through rows that follow one another
(truncated back-propagation through time) hands in `models/carried.py` as slots.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence

from yanmo.core.errors import RequestError
from yanmo.core.messages import text
from yanmo.models.base import Inputs, LanguageModel, ModelPart, Output, Slots, StateSpec
from yanmo.nn.dropout import dropout
from yanmo.nn.heads import Reduce
from yanmo.nn.init import embedding, fill, linear
from yanmo.nn.norm import RMSNorm
from yanmo.nn.pooling import last

DIAL, LAYERS, EPS = 6, 2, 1e-6
WEIGHTS = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")  # of one layer, one direction, as torch calls and orders them


class RecurrentModel(ModelPart):
    """The settings that the three cells share."""

    cell: ClassVar[type[nn.RNNBase]]
    module: ClassVar[type[Recurrent]]
    gates: ClassVar[int]  # matrices side by side, for what is read and for what is remembered

    depth: int | None = Field(None, ge=1)
    width: int | None = Field(None, ge=1)
    tie: bool = True
    dropout: float = Field(0.0, ge=0, lt=1)
    bidirectional: bool = Field(False, description="reads both ways: for 'finetune' alone")

    @model_validator(mode="after")
    def _halves(self) -> RecurrentModel:
        if self.bidirectional and self.width is not None and self.width % 2:
            raise ValueError(str(text("an even width to read both ways, not {width}", width=self.width)))
        return self

    def complete(self, depth: int | None = None, context: int | None = None) -> RecurrentModel:
        """The same settings with every size filled in. `depth` is that of the Transformer whose weights this equals in
        number; `context` bounds nothing here."""
        layers = self.depth or LAYERS
        weights = 12 * 64**2 * (depth or DIAL) ** 3
        width = 32 * max(1, round(math.sqrt(weights / (self._squares * layers)) / 32))
        return self.model_copy(update={"depth": layers, "width": self.width or width})

    @property
    def _squares(self) -> float:
        """A layer's weights in squares of the width: each half of a bidirectional one reads all and remembers its own."""
        return self.gates * (1.5 if self.bidirectional else 2)

    def parameters(self, vocabulary: int) -> int:
        """How many numbers the model has; a tied head counts once."""
        p: Any = self.complete()
        layer = int(self._squares * p.width**2) + 2 * self.gates * p.width
        return p.depth * layer + 2 * p.width + vocabulary * p.width * (1 if p.tie else 2)

    def flops(self, vocabulary: int, context: int) -> float:
        """Floating-point operations to train on one token: 6 per weight of a matrix product."""
        p: Any = self.complete()
        return 6.0 * (p.depth * self._squares * p.width**2 + vocabulary * p.width)

    def build(self, tokenizer: Any, rng: torch.Generator, context: int | None = None) -> Recurrent:
        model = self.module(self.complete(), tokenizer.size)
        model.initialise(rng)
        return model


class Recurrent(LanguageModel):
    """The module. `part` is complete; parameters are empty until `initialise` or loading fills them."""

    context = None
    cell: ClassVar[str]  # the attribute that holds torch's layers, and so the beginning of their tensors' names
    remembered: ClassVar[tuple[str, ...]] = ("hidden",)
    kernel: ClassVar[Any]  # torch's function of one layer, one direction

    def __init__(self, part: RecurrentModel, vocabulary: int):
        super().__init__()
        part = part.complete()
        sizes: Any = part
        self.part, self.vocabulary, self.width = part, vocabulary, sizes.width
        self.embedding = embedding(vocabulary, sizes.width)
        self.embedding_norm = RMSNorm(sizes.width, EPS)
        self.size = sizes.width // 2 if part.bidirectional else sizes.width  # of what one direction remembers
        shape = {"input_size": sizes.width, "hidden_size": self.size, "num_layers": sizes.depth,
                 "dropout": part.dropout if sizes.depth > 1 else 0.0, "bidirectional": part.bidirectional}  # fmt: skip
        setattr(self, self.cell, part.cell(**shape, batch_first=True, device="meta").to_empty(device="cpu"))
        self.norm = RMSNorm(sizes.width, EPS)
        for name, parameter in self.layers.named_parameters():
            if name.startswith("weight"):
                parameter.pieces = (self.size,) * part.gates  # type: ignore[attr-defined]  # as in `linear`
        self.head = None if part.tie else linear(sizes.width, vocabulary)
        if part.bidirectional:
            self.kind = "encoder"  # of this model: its positions see those behind them

    @property
    def layers(self) -> nn.RNNBase:
        """torch's layers."""
        return getattr(self, self.cell)

    def initialise(self, rng: torch.Generator) -> None:
        """Matrices normal with variance 1/width, so that the gates' inputs keep the scale of what they read."""
        for name, parameter in self.named_parameters():
            if name.startswith(f"{self.cell}.weight"):
                fill(parameter, 1 / math.sqrt(self.size if "_hh_" in name else self.width or 1), rng)
            elif name.startswith(f"{self.cell}.bias"):
                nn.init.zeros_(parameter)
                if "bias_ih" in name:
                    self.open(parameter)
            elif parameter.ndim == 1:
                nn.init.ones_(parameter)  # the norms
            else:  # logits of a standard deviation of 0.4 at most, as what comes out has length √width
                fill(parameter, min(0.02, 0.4 / math.sqrt(self.width or 1)), rng)

    def open(self, bias: Tensor) -> None:
        """Biases that begin at 1, so that a fresh cell remembers; the tanh network has no gate to open."""

    def state(self) -> dict[str, StateSpec]:
        if self.part.bidirectional:
            return {}
        spec = StateSpec((self.layers.num_layers, self.size), self.embedding.weight.dtype, per_token=False)
        return dict.fromkeys(self.remembered, spec)

    def forward(
        self, inputs: Inputs, slots: Slots | None = None, *, select: Tensor | None = None, reduce: Reduce | None = None
    ) -> Output:
        if self.part.bidirectional:
            raise RequestError(text("{model} that reads both ways", model=self.cell), text("a task that labels texts"),
                               text("the next token asked for"), text("leave out 'bidirectional'"))  # fmt: skip
        return super().forward(inputs, slots, select=select, reduce=reduce)

    def encode(self, inputs: Inputs, slots: Slots | None = None) -> Tensor:
        """(B, T, D). The row goes on from `slots` and leaves its state there; without gradients unless they keep them."""
        return self._read(inputs, slots)[0]

    def pool(self, inputs: Inputs) -> Tensor:
        """(B, D) for a classifier: what the last step of each direction has of a row, normalised as hidden states are."""
        out, hidden = self._read(inputs, None)
        if self.part.bidirectional:
            return self.norm(hidden[-2:].transpose(0, 1).flatten(1))
        return last(out, inputs.mask)

    def _read(self, inputs: Inputs, slots: Slots | None) -> tuple[Tensor, Tensor]:
        """The hidden states (B, T, D), and h (layers · directions, B, size) after each row."""
        assert slots is None or not self.part.bidirectional, "what reads both ways cannot go on from what it has read"
        x = self.embedding(inputs.tokens) if inputs.embeddings is None else inputs.embeddings
        x = dropout(self.embedding_norm(x), self.part.dropout, self.training)
        if slots is None:
            count = self.layers.num_layers * (2 if self.part.bidirectional else 1)
            state = (x.new_zeros(count, x.shape[0], self.size),) * len(self.remembered)
        else:
            state = tuple(slots.read(name).to(x.dtype).transpose(0, 1).contiguous() for name in self.remembered)
        # float32 on a CPU: its bfloat16 LSTM is many times slower wherever the shapes change, as pieces do
        with torch.autocast(x.device.type, enabled=x.device.type != "cpu" and torch.is_autocast_enabled(x.device.type)):
            if inputs.mask is None and inputs.documents is None:
                out, state = self._run(x, state)
            elif self.part.bidirectional and inputs.documents is None and x.device.type == "cpu":
                out, state = self._both_ways(x, state, inputs.mask)
            else:
                out, state = self._pieces(x, state, inputs)
        if slots is not None:
            for name, value in zip(self.remembered, state, strict=True):
                slots.write(name, value.transpose(0, 1))
        return dropout(self.norm(out), self.part.dropout, self.training), state[0]

    def _run(self, x: Any, state: tuple[Tensor, ...]) -> tuple[Any, tuple[Tensor, ...]]:
        """torch's layers, whose state is a pair or a tensor."""
        out, after = self.layers(x, state if len(state) > 1 else state[0])
        return out, after if len(state) > 1 else (after,)

    def _both_ways(self, x: Tensor, state: tuple[Tensor, ...], mask: Any) -> tuple[Tensor, tuple[Tensor, ...]]:
        """As `_pieces`, for rows of one document padded on the right: each direction reads whole rectangles, the backward one
        rows turned round up to their own length. What it computes for padding costs less than a packed sequence does: on a
        CPU the gradient of each of its steps writes zeros for all the others."""
        lengths = mask.sum(1)
        turned = (lengths[:, None] - 1 - torch.arange(x.shape[1])).clamp(min=0)[..., None]  # (B, T, 1), its own inverse
        ends = (lengths - 1).clamp(min=0)[:, None, None].expand(-1, 1, self.size)
        last_of = []
        for layer in range(self.layers.num_layers):
            ways = []
            for number, suffix in enumerate(("", "_reverse")):
                weights = [getattr(self.layers, f"{name}_l{layer}{suffix}") for name in WEIGHTS]
                begin = tuple(value[2 * layer + number : 2 * layer + number + 1] for value in state)
                read = x if not number else x.gather(1, turned.expand_as(x))
                given = begin if len(begin) > 1 else begin[0]
                out, *_ = self.kernel(read, given, weights, True, 1, 0.0, self.training, False, True)
                last_of.append(torch.where(lengths[:, None] > 0, out.gather(1, ends)[:, 0], begin[0][0]))
                ways.append(out if not number else out.gather(1, turned.expand_as(out)))
            x = torch.cat(ways, -1)
            if layer + 1 < self.layers.num_layers:
                x = dropout(x, self.part.dropout, self.training)
        return x * mask[..., None], (torch.stack(last_of),)

    def _pieces(self, x: Tensor, state: tuple[Tensor, ...], inputs: Inputs) -> tuple[Tensor, tuple[Tensor, ...]]:
        """Runs x (B, T, D) piece by piece. `state` (layers, B, size) is each row's before its first and after its last
        token; a row of nothing but padding keeps its own."""
        cut = Pieces.of(inputs.mask, inputs.documents, x.shape[:2], x.device)
        out = torch.zeros_like(x).view(-1, x.shape[2])
        if len(cut.order):
            begun = tuple(torch.where(cut.first[:, None], value[:, cut.row], 0.0) for value in state)
            packed = PackedSequence(x.reshape(-1, x.shape[2])[cut.order], cut.sizes)
            read, ended = self._run(packed, begun)
            out = out.to(read.data.dtype).index_copy(0, cut.order, read.data)
            state = tuple(value.index_copy(1, cut.row[cut.last], new[:, cut.last].to(value.dtype))
                          for value, new in zip(state, ended, strict=True))  # fmt: skip
        return out.view(x.shape), state


class Rnn(Recurrent):
    family, cell, kernel = "yanmo_rnn", "rnn", staticmethod(torch.rnn_tanh)


class Gru(Recurrent):
    family, cell, kernel = "yanmo_gru", "gru", staticmethod(torch.gru)

    def open(self, bias: Tensor) -> None:
        nn.init.ones_(bias[self.size : 2 * self.size])  # reset, update, new: an update gate near 1 keeps what there is


class Lstm(Recurrent):
    family, cell, remembered, kernel = "yanmo_lstm", "lstm", ("hidden", "cell"), staticmethod(torch.lstm)

    def open(self, bias: Tensor) -> None:
        """Forget gates (Jozefowicz et al. 2015)."""
        nn.init.ones_(bias[self.size : 2 * self.size])  # input, forget, cell, output


class RnnModel(RecurrentModel):
    """A recurrent network of tanh units; `depth` is the dial for its size."""

    cell, module, gates = nn.RNN, Rnn, 1
    type: str = "rnn"


class GruModel(RecurrentModel):
    """A network of gated recurrent units; `depth` is the dial for its size."""

    cell, module, gates = nn.GRU, Gru, 3
    type: str = "gru"


class LstmModel(RecurrentModel):
    """An LSTM language model; `depth` is the dial for its size."""

    cell, module, gates = nn.LSTM, Lstm, 4
    type: str = "lstm"


@dataclass
class Pieces:
    """The unpadded stretches of one document within one row, longest first: P pieces of N tokens together."""

    order: Tensor  # (N,) flat positions b · T + t, sorted by step in the piece and then by the piece: a packed sequence
    sizes: Tensor  # (longest,) int64 on the CPU: how many pieces have a token at each step
    row: Tensor  # (P,) the row of each piece
    first: Tensor  # (P,) bool: it begins its row, and so goes on from the row's state
    last: Tensor  # (P,) bool: it ends its row, and so leaves the row's state

    @classmethod
    def of(cls, mask: Tensor | None, documents: Tensor | None, shape: torch.Size, device: torch.device) -> Pieces:
        B, T = shape
        real = torch.ones(B, T, dtype=torch.bool, device=device) if mask is None else mask
        begins = torch.zeros(B, T, dtype=torch.bool, device=device)
        begins[:, 0] = True
        if documents is not None:
            begins[:, 1:] = documents[:, 1:] != documents[:, :-1]
        flat = real.reshape(-1).nonzero().squeeze(1)
        begin = begins.reshape(-1)[flat]
        piece = begin.cumsum(0) - 1  # of each token
        start = flat[begin]
        lengths = torch.bincount(piece, minlength=len(start))
        step = flat - start[piece]
        by_length = torch.argsort(lengths, descending=True, stable=True)
        rank = torch.empty_like(by_length)
        rank[by_length] = torch.arange(len(start), device=device)
        order = flat[torch.argsort(step * max(len(start), 1) + rank[piece])]
        row = start[by_length] // T
        final = torch.ones(len(start), dtype=torch.bool, device=device)
        final[:-1] = start[1:] // T != start[:-1] // T
        return cls(order, torch.bincount(step).cpu(), row, start[by_length] % T == 0, final[by_length])
