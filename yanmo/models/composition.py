"""What a Transformer is composed of beside its sizes: the kinds of parts that a recipe names, and the settings of its attention,
its embedding and its head. `transformer.py` puts them together; a family fixes some of them."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, field_validator, model_validator

from yanmo.core.config import PartOf, Settings
from yanmo.core.messages import Text, text
from yanmo.nn.mlp import MlpPart
from yanmo.nn.norm import NormPart
from yanmo.nn.position import PositionPart

Mlp = Annotated[MlpPart, PartOf("mlp")]
Norm = Annotated[NormPart, PartOf("norm")]
Position = Annotated[PositionPart, PartOf("position")]
Bias = Literal["none", "qkv", "all"]
NormAt = Literal["pre", "post", "sandwich", "parallel"]


class AttentionSettings(Settings):
    """`window`: how many tokens back a layer sees; `full_every` n: but every n-th layer sees all; `sinks`: the first tokens
    that a window still shows; `softcap`: the bound of the scores; `scale`: on the scores, null for 1/√head size."""

    window: int | None = Field(default=None, ge=1)
    full_every: int | None = Field(default=None, ge=2)
    sinks: int = Field(default=0, ge=0)
    softcap: float | None = Field(default=None, gt=0, le=1e6)
    scale: float | None = Field(default=None, gt=0, le=1e6)

    @model_validator(mode="after")
    def _needed(self) -> AttentionSettings:
        if self.window is None and (self.full_every or self.sinks):
            name = "full_every" if self.full_every else "sinks"
            raise ValueError(str(text("a 'window', without which '{name}' has no effect", name=name)))
        return self


class GramSettings(Settings):
    """Embeddings of the last tokens together (`nn/hashed.py`). `orders`: how many tokens; `rows`: of each order's table."""

    orders: tuple[Annotated[int, Field(ge=2, le=8)], ...] = Field(default=(2, 3, 4), min_length=1)
    rows: int = Field(default=1 << 17, ge=16, le=1 << 28)

    @field_validator("orders")
    @classmethod
    def _rising(cls, orders: tuple[int, ...]) -> tuple[int, ...]:
        if list(orders) != sorted(set(orders)):
            raise ValueError(str(text("orders that rise, each once")))
        return orders


class EmbeddingSettings(Settings):
    """`scale`: tokens' vectors times √width; `norm`: a norm on the sum of all that is embedded; `types`: how many kinds of
    sentence have a vector of their own (BERT has 2); `query`: a vector that stands for the token to be predicted, with which
    the query stream of a permuted model (XLNet) begins; `grams`: hashed n-grams, added to the tokens' vectors."""

    scale: bool = False
    norm: bool = False
    types: int = Field(default=0, ge=0)
    query: bool = False
    grams: GramSettings | None = None


class HeadSettings(Settings):
    """`transform`: a dense layer, activation and norm before the logits (BERT); `bias`: a number for each token; `softcap`:
    the logits' bound; `scale`: on the hidden states; `pooler`: a dense layer with tanh on the first position; `pairs`: from
    it, whether the second sentence follows the first."""

    transform: bool = False
    bias: bool = False
    softcap: float | None = Field(default=None, gt=0, le=1e6)
    scale: float | None = Field(default=None, gt=0, le=1e6)
    pooler: bool = False
    pairs: bool = False

    @model_validator(mode="after")
    def _needed(self) -> HeadSettings:
        if self.pairs and not self.pooler:
            raise ValueError(str(text("a 'pooler', from which 'pairs' are judged")))
        return self


def needless(architecture: str, option: str) -> Text:
    return text("'architecture: {name}', without which '{option}' has no effect", name=architecture, option=option)
