"""Low-rank adapters: LoRA (Hu et al. 2021, arXiv:2106.09685), with the scale of rsLoRA (Kalajdzievski 2023,
arXiv:2312.03732), with magnitudes of their own (DoRA, Liu et al. 2024, arXiv:2402.09353), and on a base in four bits (QLoRA,
Dettmers et al. 2023, arXiv:2305.14314).

A target is a map by its name: `q k v out` of attention, `gate up down` of the feed-forward layers, wherever the model keeps
them; for models that transformers opens, also any layer by its own name ('query_key_value').

Merged, the model is an ordinary one: W + s · B A in W's place. That it gives the adapted model's logits is checked before
anything is saved. With a base in four bits, what is merged into is the base as it was trained on: what four bits make of it.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import torch
from pydantic import Field, field_validator
from torch import Tensor, nn

from yanmo.core.errors import RecipeError, RequestError, TrainingError, nearest
from yanmo.core.messages import text
from yanmo.core.registry import lookup
from yanmo.models.adapter import AdapterPart, backbone_of, outside, shelve, unshelve
from yanmo.models.base import Inputs
from yanmo.models.hf import HuggingFaceModel
from yanmo.models.transformer import Transformer
from yanmo.nn.adapted import AdaptedLinear, Spans
from yanmo.nn.experts import Experts
from yanmo.nn.four import FourLinear
from yanmo.nn.init import linear

if TYPE_CHECKING:
    from yanmo.text.tokenizer import Tokenizer

ALL = "all"
INSIDE = re.compile(r"(stack|encoder)\.blocks\.\d+\.")  # of our own models: no heads, no embeddings
PIECES = {"qkv": ("q", "k", "v"), "kv": ("k", "v"), "gate_up": ("gate", "up")}  # of our matrices with several maps in them
ALIASES = {  # what transformers' models call the same maps
    "q_proj": "q", "query": "q", "q_lin": "q", "wq": "q", "k_proj": "k", "key": "k", "k_lin": "k", "wk": "k",
    "v_proj": "v", "value": "v", "v_lin": "v", "wv": "v", "o_proj": "out", "out_proj": "out", "out_lin": "out", "o": "out",
    "gate_proj": "gate", "up_proj": "up", "fc1": "up", "down_proj": "down", "fc2": "down",
}  # fmt: skip
TOLERANCE = 1e-4  # of the largest logit, at least of 1
PROBE = (2, 24)  # rows and tokens of the trial


@dataclass(frozen=True)
class Layer:
    """A linear layer of a model: where it stands, the maps in it, and what its matrix is called where it was published."""

    path: str
    module: Any
    spans: Spans
    names: tuple[str, ...]

    def chosen(self, targets: str | tuple[str, ...]) -> Spans:
        own = self.path.rpartition(".")[2]
        if targets == ALL or own in targets:
            return self.spans
        return {piece: span for piece, span in self.spans.items() if piece in targets}


class Lora(AdapterPart):
    """LoRA: pairs of small matrices beside the frozen ones, of inner size `rank`, times `alpha` / `rank`.

    `targets`: the maps that have a pair (q, k, v, out, gate, up, down, or a layer's own name), or all. `dropout`: of what the
    pairs read. `rslora`: times `alpha` / √`rank` instead, so that larger ranks learn as fast. `dora`: each row
    of the adapted matrix has a length of its own that learns. `base`: fp32, or nf4 for a base in four bits (QLoRA)."""

    type: str = "lora"
    rank: int = Field(default=8, ge=1)
    alpha: float = Field(default=16.0, gt=0, allow_inf_nan=False)
    targets: Literal["all"] | tuple[str, ...] = ("q", "v")
    dropout: float = Field(default=0.0, ge=0, lt=1)
    rslora: bool = False
    dora: bool = False
    base: Literal["fp32", "nf4"] = "fp32"

    @field_validator("targets")
    @classmethod
    def _some(cls, targets: Any) -> Any:
        if not targets or (targets != ALL and len(set(targets)) < len(targets)):
            raise ValueError(str(text("'all', or names of maps such as 'q' and 'v', each once")))
        return targets

    @property
    def scale(self) -> float:
        return self.alpha / (math.sqrt(self.rank) if self.rslora else self.rank)

    def apply(self, model: Any, rng: torch.Generator) -> Any:
        backbone, heads = backbone_of(model), outside(model)
        found = layers(model)
        if not found:
            raise RequestError("adapter", text("a model with linear layers inside (a Transformer)"), type(backbone).__name__)
        chosen = {layer.path: spans for layer in found if (spans := layer.chosen(self.targets))}
        self._check(found)
        backbone.matrices = matrices(model)
        shelve(model, heads)
        for layer in found:
            module = layer.module
            if self.base == "nf4":
                module = FourLinear(module.weight, module.bias, tuple(end - start for start, end in layer.spans.values()))
                put(backbone, layer.path, module)
                layer.module.weight = None  # the layer's own matrix is free before the next one is read
            if layer.path in chosen:
                spans = chosen[layer.path]
                module = AdaptedLinear(module, spans, self.rank, self.scale, self.dropout, self.dora, layer.names)
                module.initialise(rng)
                put(backbone, layer.path, module)
        return model

    def _check(self, found: list[Layer]) -> None:
        """RecipeError for a target that names nothing."""
        known = {piece for layer in found for piece in layer.spans} | {layer.path.rpartition(".")[2] for layer in found}
        for target in () if self.targets == ALL else self.targets:
            if target not in known:
                raise RecipeError("adapter.targets", text("a map of this model"), f"'{target}'", nearest(target, known))

    @torch.no_grad()
    def finished(self, model: Any) -> Any:
        model.eval()
        before = logits(model)
        backbone = backbone_of(model)
        for path, module in list(backbone.named_modules()):
            if isinstance(module, AdaptedLinear):
                put(backbone, path, plain(module.merged(), module.base.bias, pieces(module.base)))
        for path, module in list(backbone.named_modules()):
            if isinstance(module, FourLinear):
                put(backbone, path, plain(module.weight, module.bias, module.pieces))
        unshelve(model)
        apart = max(float((a - b).abs().max()) for a, b in zip(logits(model), before))
        most = TOLERANCE * max(1.0, *(float(value.abs().max()) for value in before))
        if not apart <= most:  # not a number is no parity either
            wanted = text("a merged model with the adapted one's logits, within {most}", most=f"{most:.2g}")
            raise TrainingError("adapter", wanted, text("{apart} apart", apart=f"{apart:.2g}"),
                                text("train in fp32; the adapter as it is was saved in {folder}", folder="adapter/"))  # fmt: skip
        return model

    def save(self, folder: Path, model: Any, base: str, tokenizer: Tokenizer | None, labels: list[str]) -> None:
        from yanmo.models.peft import write_lora

        write_lora(folder, self, model, base, tokenizer, labels)


def adapted(model: Any) -> dict[str, AdaptedLinear]:
    """Path in the backbone → the layer."""
    return {path: module for path, module in backbone_of(model).named_modules() if isinstance(module, AdaptedLinear)}


def layers(model: Any) -> list[Layer]:
    """The linear layers inside a model's backbone that an adapter can stand beside, in the model's order."""
    return list(_foreign(model) if isinstance(backbone_of(model), HuggingFaceModel) else _native(model))


def _native(model: Any) -> Iterator[Layer]:
    backbone = backbone_of(model)
    if not isinstance(backbone, Transformer):
        return
    names = lookup("family", model.family)().names(backbone)
    routed = tuple(f"{path}." for path, module in backbone.named_modules() if isinstance(module, Experts))
    for path, module in backbone.named_modules():
        if type(module) is nn.Linear and INSIDE.match(path) and not path.startswith(routed or ("\0",)):
            own = path.rpartition(".")[2]
            yield Layer(path, module, spans_of(PIECES.get(own, (own,)), pieces(module)), names[f"{path}.weight"])


def _foreign(model: Any) -> Iterator[Layer]:
    backbone = backbone_of(model)
    inner = backbone.inner
    heads = {id(inner.get_output_embeddings())} if hasattr(inner, "get_output_embeddings") else set()
    for path, module in inner.named_modules():
        if type(module) is nn.Linear and id(module) not in heads:
            own = path.rpartition(".")[2]
            yield Layer(f"inner.{path}", module, {ALIASES.get(own, own): (0, module.out_features)}, (f"{path}.weight",))


def matrices(model: Any) -> tuple[str, ...]:
    """The published names of the modules of a base that have a weight."""
    backbone = backbone_of(model)
    if isinstance(backbone, HuggingFaceModel):
        return tuple(name for name, module in backbone.inner.named_modules() if hasattr(module, "weight"))
    found = lookup("family", model.family)().names(backbone)
    return tuple(name.removesuffix(".weight") for theirs in found.values() for name in theirs if name.endswith(".weight"))


def spans_of(names: tuple[str, ...], sizes: tuple[int, ...]) -> Spans:
    """The rows of each map in a matrix that holds several."""
    if len(names) != len(sizes):
        names, sizes = names[:1], (sum(sizes),)
    ends = list(accumulate(sizes))
    return {name: (end - size, end) for name, size, end in zip(names, sizes, ends)}


def pieces(layer: Any) -> tuple[int, ...]:
    """The sizes of the maps that lie side by side in a linear layer's matrix."""
    return tuple(getattr(layer, "pieces", None) or getattr(layer.weight, "pieces", None) or (layer.out_features,))


def plain(weight: Tensor, bias: Tensor | None, sizes: tuple[int, ...]) -> nn.Linear:
    """An ordinary linear layer with this matrix."""
    layer = linear(weight.shape[1], *sizes, bias=bias is not None)
    layer.weight.data = weight
    if bias is not None:
        layer.bias.data = bias.detach()
    return layer


def put(root: nn.Module, path: str, module: nn.Module) -> None:
    parent, _, name = path.rpartition(".")
    setattr(root.get_submodule(parent), name, module)


def logits(model: Any) -> list[Tensor]:
    """What a model gives for two rows of tokens that no one chose."""
    backbone = backbone_of(model)
    vocabulary = backbone.vocabulary
    rows, steps = PROBE[0], min(PROBE[1], backbone.context or PROBE[1])
    device = next(model.parameters()).device
    tokens = torch.arange(rows * steps, device=device).mul(7).remainder(vocabulary - 1).add(1).view(rows, steps)
    source = Inputs(tokens.flip(1)) if backbone.kind == "encoder-decoder" else None
    with torch.no_grad():
        found = model(Inputs(tokens, source=source))
    found = getattr(found, "logits", found)
    return [found] if isinstance(found, Tensor) else list(found)
