"""An LSTM language model (Hochreiter & Schmidhuber 1997; Sundermeyer et al. 2012): what the Transformer is measured
against. It remembers a row in two vectors a layer, h and c, however long the row is.

`depth` is the number of layers, two where nothing is said. The width follows from the dial that `complete` is given: its
layers get as many weights as the blocks of a Transformer of that depth, 12 · 64² · dial³. What goes in and what comes out
is normalised (RMSNorm): a tied embedding is small, as its other use is to give logits, and gates hardly move on inputs
so small.

Documents packed in one row must not leak into each other: the state starts fresh where a document begins. torch's LSTM
has no such border, so a row is cut there, and the pieces of all rows, sorted by their lengths, go through it as one
`PackedSequence`: no step is computed twice or for padding, and the longest piece, not the row, sets how many steps
follow one another. Right padding is left out the same way. Rows without borders and padding take the plain path.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.rnn import PackedSequence

from yanmo.models.base import Inputs, LanguageModel, ModelPart, Slots, StateSpec
from yanmo.nn.init import embedding, fill, linear
from yanmo.nn.norm import RMSNorm

DIAL, LAYERS, EPS = 6, 2, 1e-6


class LstmModel(ModelPart):
    """An LSTM language model; `depth` is the dial for its size."""

    type: str = "lstm"
    depth: int | None = Field(None, ge=1)
    width: int | None = Field(None, ge=1)
    tie: bool = True
    dropout: float = Field(0.0, ge=0, lt=1)

    def complete(self, depth: int | None = None, context: int | None = None) -> LstmModel:
        """The same settings with every size filled in. `depth` is that of the Transformer whose weights this equals in
        number; `context` bounds nothing here."""
        layers = self.depth or LAYERS
        width = 32 * max(1, round(math.sqrt(12 * 64**2 * (depth or DIAL) ** 3 / (8 * layers)) / 32))
        return self.model_copy(update={"depth": layers, "width": self.width or width})

    def parameters(self, vocabulary: int) -> int:
        """How many numbers the model has; a tied head counts once."""
        p: Any = self.complete()
        return p.depth * (8 * p.width**2 + 8 * p.width) + 2 * p.width + vocabulary * p.width * (1 if p.tie else 2)

    def flops(self, vocabulary: int, context: int) -> float:
        """Floating-point operations to train on one token: 6 per weight of a matrix product."""
        p: Any = self.complete()
        return 6.0 * (p.depth * 8 * p.width**2 + vocabulary * p.width)

    def build(self, tokenizer: Any, rng: torch.Generator, context: int | None = None) -> Lstm:
        model = Lstm(self.complete(), tokenizer.size)
        model.initialise(rng)
        return model


class Lstm(LanguageModel):
    """The module. `part` is complete; parameters are empty until `initialise` or loading fills them."""

    family = "yanmo_lstm"
    context = None

    def __init__(self, part: LstmModel, vocabulary: int):
        super().__init__()
        part = part.complete()
        sizes: Any = part
        self.part, self.vocabulary, self.width = part, vocabulary, sizes.width
        self.embedding = embedding(vocabulary, sizes.width)
        self.embedding_norm = RMSNorm(sizes.width, EPS)
        dropout = part.dropout if sizes.depth > 1 else 0.0
        shape = {"input_size": sizes.width, "hidden_size": sizes.width, "num_layers": sizes.depth}
        self.lstm = nn.LSTM(**shape, batch_first=True, dropout=dropout, device="meta").to_empty(device="cpu")
        self.norm = RMSNorm(sizes.width, EPS)
        for name, parameter in self.lstm.named_parameters():
            if name.startswith("weight"):
                parameter.pieces = (sizes.width,) * 4  # type: ignore[attr-defined]  # the four gates: as in `linear`
        self.head = None if part.tie else linear(sizes.width, vocabulary)

    def initialise(self, rng: torch.Generator) -> None:
        """Matrices normal with variance 1/width, so that the gates' inputs keep the scale of what they read; forget gates
        open (bias 1, Jozefowicz et al. 2015)."""
        width = self.width
        assert width is not None
        for name, parameter in self.named_parameters():
            if name.startswith("lstm.weight"):
                fill(parameter, 1 / math.sqrt(width), rng)
            elif name.startswith("lstm.bias"):
                nn.init.zeros_(parameter)
                if "bias_ih" in name:
                    nn.init.ones_(parameter[width : 2 * width])  # input, forget, cell, output
            elif parameter.ndim == 1:
                nn.init.ones_(parameter)  # the norms
            else:
                fill(parameter, 0.02, rng)

    def state(self) -> dict[str, StateSpec]:
        assert self.width is not None
        spec = StateSpec((self.lstm.num_layers, self.width), self.embedding.weight.dtype, per_token=False)
        return {"hidden": spec, "cell": spec}

    def encode(self, inputs: Inputs, slots: Slots | None = None) -> Tensor:
        x = self.embedding(inputs.tokens) if inputs.embeddings is None else inputs.embeddings
        x = F.dropout(self.embedding_norm(x), self.part.dropout, self.training)
        if slots is None:
            h = c = x.new_zeros(self.lstm.num_layers, x.shape[0], x.shape[2])
        else:
            h, c = (slots.read(name).to(x.dtype).transpose(0, 1).contiguous() for name in ("hidden", "cell"))
        # float32 on a CPU: its bfloat16 LSTM is many times slower wherever the shapes change, as pieces do
        with torch.autocast(x.device.type, enabled=x.device.type != "cpu" and torch.is_autocast_enabled(x.device.type)):
            if inputs.mask is None and inputs.documents is None:
                out, (h, c) = self.lstm(x, (h, c))
            else:
                out, h, c = self._pieces(x, h, c, inputs)
        if slots is not None:
            slots.write("hidden", h.transpose(0, 1))
            slots.write("cell", c.transpose(0, 1))
        return F.dropout(self.norm(out), self.part.dropout, self.training)

    def _pieces(self, x: Tensor, h: Tensor, c: Tensor, inputs: Inputs) -> tuple[Tensor, Tensor, Tensor]:
        """Runs x (B, T, D) piece by piece. h and c (layers, B, D) are each row's before its first and after its last
        token; a row of nothing but padding keeps its own."""
        cut = Pieces.of(inputs.mask, inputs.documents, x.shape[:2], x.device)
        out = torch.zeros_like(x).view(-1, x.shape[2])
        if len(cut.order):
            begun = [torch.where(cut.first[:, None], state[:, cut.row], 0.0) for state in (h, c)]
            packed = PackedSequence(x.reshape(-1, x.shape[2])[cut.order], cut.sizes)
            read, (new_h, new_c) = self.lstm(packed, tuple(begun))
            out = out.to(read.data.dtype).index_copy(0, cut.order, read.data)
            h, c = (state.index_copy(1, cut.row[cut.last], new[:, cut.last].to(state.dtype))
                    for state, new in ((h, new_h), (c, new_c)))  # fmt: skip
        return out.view(x.shape), h, c


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
