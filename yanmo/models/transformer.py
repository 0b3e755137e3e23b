"""The one Transformer: decoder, encoder, or encoder and decoder, of blocks that a recipe composes of registered parts
(position, norm, mlp). As it stands: a decoder of pre-norm blocks (RMSNorm, rotary positions, grouped-query attention with
QK-norm, SwiGLU), tied or untied head.

A single dial, `depth`, sets its size; what is not given follows from it:

    width      64 · depth     the loss hardly depends on the aspect ratio (Kaplan et al. 2020, arXiv:2001.08361,
                              figure 5), matrix products are the faster the wider they are, and 64 gives whole heads
    heads      width / 64     as in most published models of any size
    kv_heads   heads          grouping saves memory when serving long contexts, and costs a little quality
    mlp_width  8/3 · width for a gated layer, rounded up to 64: as many parameters as 4 · width without a gate

With QK-norm it is Qwen3 and without it, Llama, tensor for tensor; with the parts of another published family it is that
family (families/): so saved, it opens in other programs.
"""

from __future__ import annotations

import math
from typing import Any, Literal

import torch
from pydantic import Field, field_validator, model_validator
from torch import Tensor, nn

from yanmo.core.errors import RequestError
from yanmo.core.messages import text
from yanmo.core.registry import create, lookup, names
from yanmo.models.base import Inputs, LanguageModel, ModelPart, Output, Slots, StateSpec
from yanmo.models.composition import (
    AttentionSettings,
    Bias,
    EmbeddingSettings,
    HeadSettings,
    Mlp,
    Norm,
    NormAt,
    Position,
    needless,
)
from yanmo.nn.block import Stack
from yanmo.nn.dropout import dropout
from yanmo.nn.experts import Experts, ExpertsPart
from yanmo.nn.hashed import ABSENT, HashedGrams
from yanmo.nn.heads import Reduce, language_head
from yanmo.nn.init import embedding, fill, linear
from yanmo.nn.mlp import Swiglu
from yanmo.nn.norm import Rms
from yanmo.nn.pooling import last, mean
from yanmo.nn.position import LearnedPosition, RelativePosition, RotaryPosition
from yanmo.nn.rolling import RollingSlots
from yanmo.nn.rope import Rotary

DEPTH, CONTEXT = 6, 512  # where neither the recipe nor the stage says
KIND = {"decoder": "causal", "encoder": "masked", "encoder-decoder": "encoder-decoder"}


class TransformerModel(ModelPart):
    """The Transformer; `depth` is the dial for its size, and the rest follows unless given."""

    type: str = "transformer"
    architecture: Literal["decoder", "encoder", "encoder-decoder"] = "decoder"
    depth: int | None = Field(default=None, ge=1)
    decoder_depth: int | None = Field(default=None, ge=1)  # of an encoder-decoder; None: as deep as the encoder
    width: int | None = Field(default=None, ge=1)
    heads: int | None = Field(default=None, ge=1)
    kv_heads: int | None = Field(default=None, ge=1)
    head_size: int | None = Field(default=None, ge=2)
    qk_norm: bool = True
    bias: Bias = "none"
    attention: AttentionSettings = AttentionSettings()
    mlp: Mlp = Swiglu()
    mlp_width: int | None = Field(default=None, ge=1)
    norm: Norm = Rms()
    norm_at: NormAt = "pre"
    position: Position = RotaryPosition()
    embedding: EmbeddingSettings = EmbeddingSettings()
    head: HeadSettings = HeadSettings()
    tie: bool = True
    context: int | None = Field(default=None, ge=1)
    dropout: float = Field(default=0.0, ge=0, lt=1)

    @field_validator("mlp", "norm", "position", mode="before")
    @classmethod
    def _part(cls, value: Any, info: Any) -> Any:
        return create(info.field_name, value)

    @model_validator(mode="after")
    def _fits(self) -> TransformerModel:
        full = self._filled()
        if full["width"] % full["heads"] and self.head_size is None:
            width, heads = full["width"], full["heads"]
            raise ValueError(str(text("'heads' that divide the width {width}, not {heads}", width=width, heads=heads)))
        if full["heads"] % full["kv_heads"]:
            heads, groups = full["heads"], full["kv_heads"]
            raise ValueError(str(text("'kv_heads' that divide the {heads} heads, not {kv}", heads=heads, kv=groups)))
        if full["head_size"] % 2 and isinstance(self.position, RotaryPosition):
            raise ValueError(str(text("an even head size for rotary positions, not {size}", size=full["head_size"])))
        if self.decoder_depth is not None and self.architecture != "encoder-decoder":
            raise ValueError(str(needless("encoder-decoder", "decoder_depth")))
        if self.embedding.query and self.architecture != "encoder":
            raise ValueError(str(needless("encoder", "embedding.query")))
        if self.embedding.grams and self.architecture != "decoder":
            raise ValueError(str(needless("decoder", "embedding.grams")))
        if self.embedding.query and isinstance(self.position, LearnedPosition):
            raise ValueError(str(text("'position' of another kind than learned with 'embedding.query'")))
        if self.embedding.query and self.attention.window is not None:
            raise ValueError(str(text("'attention.window' left out with 'embedding.query', whose orders know no distance")))
        if self.attention.softcap is not None and self.position.type in ("relative", "alibi"):
            raise ValueError(str(text("'attention.softcap' left out with 'position' relative or alibi, which add to the scores")))
        if self.bias == "all" and isinstance(self.mlp, ExpertsPart):
            raise ValueError(str(text("'bias' none or qkv with experts")))
        if self.norm_at in ("sandwich", "parallel") and self.architecture == "encoder-decoder":
            raise ValueError(str(text("'norm_at' pre or post in an encoder-decoder")))
        return self

    def _filled(self) -> dict[str, Any]:
        depth = self.depth or DEPTH
        width = self.width or 64 * depth
        heads = self.heads or max(1, width // (self.head_size or 64))
        filled = {
            "depth": depth, "width": width, "heads": heads, "kv_heads": self.kv_heads or heads,
            "head_size": self.head_size or width // heads, "mlp_width": self.mlp_width or self.mlp.inner(width),
        }  # fmt: skip
        if self.architecture == "encoder-decoder":
            filled["decoder_depth"] = self.decoder_depth or depth
        return filled

    def complete(self, depth: int | None = None, context: int | None = None) -> Any:
        """The same settings with every size filled in; `depth` and `context` are used where the settings give none."""
        part = self if self.depth or depth is None else self.model_copy(update={"depth": depth})
        return part.model_copy(update={**part._filled(), "context": self.context or context or CONTEXT})

    def timed(self) -> TransformerModel:
        """These settings for a training that is limited by its time alone: a head of its own takes no more of it than one tied to
        the embedding, and learns faster (nanochat has one at every size). Of text that is read many times it learns too much:
        nine times read, 2.060 bits per byte on other text, and 2.019 tied (LOG.md, 23 November 2026)."""
        open_ = self.architecture == "decoder" and "tie" not in self.model_fields_set
        return self.model_copy(update={"tie": False}) if open_ else self

    def describe(self) -> dict[str, Any]:
        """How far such a model sees and how it tells positions, as it is in effect: what a person should see before they trust
        a longer text to it. Sizes in tokens; `layers`: of how many each kind of attention is."""
        p = self.complete()
        every, window = p.attention.full_every, p.attention.window
        full = p.depth if window is None else p.depth // every if every else 0
        layers = {"full": full, "window": p.depth - full}
        told: dict[str, Any] = {"context": p.context, "position": p.position.type, "layers": layers}
        if window is not None:
            told |= {"window": window, "sinks": p.attention.sinks}
        if isinstance(p.position, RotaryPosition):
            told["theta"] = p.position.theta
            scaling = p.position.scaling
            if scaling is not None:
                turned = Rotary(2 * int(p.head_size * p.position.share / 2), p.position.theta, scaling, p.context)
                slowest, sharper = turned.frequencies(p.context)
                told["scaling"] = {"type": scaling.type, "factor": scaling.factor, "trained": turned.trained,
                                   "slowest_wavelength": round(2 * math.pi / float(slowest[-1])),
                                   "attention_factor": round(sharper, 4)}  # fmt: skip
        return told

    def parameters(self, vocabulary: int) -> int:
        """How many numbers the model has; a tied head counts once."""
        with torch.device("meta"):
            return sum(parameter.numel() for parameter in Transformer(self.complete(), vocabulary).parameters())

    def flops(self, vocabulary: int, context: int) -> float:
        """Floating-point operations to train on one token: 6 per weight of a matrix product (2 forward, 4 backward) and
        12 · depth · heads · head size · context of attention (Chowdhery et al. 2022, arXiv:2204.02311, appendix B). Of an
        encoder-decoder, for one token on either side."""
        p = self.complete()
        attention = p.width * p.head_size * (2 * p.heads + 2 * p.kv_heads)
        blocks = p.depth * (attention + p.mlp.multiplied(p.width, p.mlp_width))
        layers = p.depth
        if p.decoder_depth:
            blocks += p.decoder_depth * (2 * attention + p.mlp.multiplied(p.width, p.mlp_width))
            layers += 2 * p.decoder_depth
        return 6.0 * (blocks + vocabulary * p.width) + 12.0 * layers * p.heads * p.head_size * context

    def build(self, tokenizer: Any, rng: torch.Generator, context: int | None = None) -> Transformer:
        if self.context is not None and context is not None and context > self.context:
            raise RequestError(text("context"), text("at most the model's {context} tokens", context=self.context),
                               str(context), text("raise the model's 'context' or lower the other"))  # fmt: skip
        model = Transformer(self.complete(context=context), tokenizer.size)
        model.initialise(rng)
        return model


class Transformer(LanguageModel):
    """The module. `part` is complete; parameters are empty until `initialise` or loading fills them."""

    def __init__(self, part: TransformerModel, vocabulary: int):
        super().__init__()
        p: Any = part.complete()
        self.part, self.kind = p, "permuted" if p.embedding.query else KIND[p.architecture]
        self.vocabulary, self.context, self.width = vocabulary, p.context, p.width
        self.published_as: str | None = None  # the family that it was read from
        two = p.architecture == "encoder-decoder"
        self.embedding = embedding(vocabulary, p.width)
        self.types = embedding(p.embedding.types, p.width) if p.embedding.types else None
        grams = p.embedding.grams
        self.grams = HashedGrams(grams.orders, grams.rows, p.width) if grams else None
        self.embedding_norm = p.norm.build(p.width) if p.embedding.norm else None
        self.query = nn.Parameter(torch.empty(1, p.width)) if p.embedding.query else None
        self.encoder = Stack(p, p.depth, causal=False) if two else None
        self.encoder_embedding_norm = p.norm.build(p.width) if two and p.embedding.norm else None
        self.stack = Stack(p, p.decoder_depth if two else p.depth, causal=p.architecture != "encoder", crosses=two)
        self.transform = Transform(p) if p.head.transform else None
        self.head = None if p.tie else linear(p.width, vocabulary)
        self.head_bias = nn.Parameter(torch.empty(vocabulary)) if p.head.bias else None
        self.pooler = linear(p.width, p.width, bias=True) if p.head.pooler else None
        self.pairs = linear(p.width, 2, bias=True) if p.head.pairs else None

    @property
    def family(self) -> str:  # type: ignore[override]
        """The published family that these settings are, else our own."""
        scaling = getattr(self.part.position, "scaling", None)
        if self.grams is not None:
            return "yanmo_transformer"  # no published family has them
        if scaling is not None and scaling.type == "dynamic" and scaling.trained not in (None, self.context):
            return "yanmo_transformer"  # elsewhere it would stretch from the context on, not from what was trained
        others = (name for name in names("family") if not name.startswith("yanmo_"))
        known = (name for name in others if lookup("family", name)().fits(self.part))
        return self.published_as or next(known, "yanmo_transformer")

    def initialise(self, rng: torch.Generator) -> None:
        """Fills every parameter, in the order of their names: see the body for the rule."""
        deep = 2 * len(self.stack.blocks) * (1 if self.encoder is None else 2)
        for name, parameter in self.named_parameters():
            if name.endswith("bias") or name.startswith("grams."):
                nn.init.zeros_(parameter)
            elif parameter.ndim == 1:  # the norms
                nn.init.constant_(parameter, 0.0 if getattr(self.part.norm, "offset", False) else 1.0)
            elif name.endswith(("attention.out.weight", "cross.out.weight", ".down.weight")):
                fill(parameter, 0.02 / math.sqrt(deep), rng)
            elif name.endswith("position.table.weight") and isinstance(self.part.position, RelativePosition):
                fill(parameter, self.width**-0.5, rng)  # type: ignore[operator]  # as published: all that tells order
            else:
                fill(parameter, 0.02, rng)

    def state(self) -> dict[str, StateSpec]:
        """Keys and values of every token; of an encoder-decoder also those of what the encoder has read."""
        if self.kind == "masked":
            return {}
        p: Any = self.part
        shape, dtype, layers = (p.kv_heads, p.head_size), self.embedding.weight.dtype, range(len(self.stack.blocks))
        spec = {f"{name}.{layer}": StateSpec(shape, dtype, per_token=True) for layer in layers for name in ("keys", "values")}
        if self.grams is not None:
            spec["grams"] = StateSpec((self.grams.back,), torch.int64, per_token=False, fill=ABSENT)
        if self.encoder is not None:
            memory = StateSpec((p.context, *shape), dtype, per_token=False)
            spec |= {f"memory.{name}.{layer}": memory for layer in layers for name in ("keys", "values")}
            spec["memory.length"] = StateSpec((1,), torch.int64, per_token=False)
        return spec

    @property
    def rolls(self) -> tuple[int, int] | None:
        """(window, sinks) of a decoder that reads texts of any length in `RollingSlots`; None where a layer sees all of a text,
        or where positions are learned one by one."""
        p: Any = self.part
        settings, relative = p.attention, not isinstance(p.position, LearnedPosition)
        if self.kind != "causal" or settings.window is None or settings.full_every or not relative or self.grams is not None:
            return None
        return (settings.window, settings.sinks) if settings.window + settings.sinks <= p.context else None

    def regions(self) -> list[nn.Module]:
        if isinstance(self.part.mlp, ExpertsPart):
            return []  # which token goes where changes with every batch
        return [*(self.encoder.blocks if self.encoder is not None else ()), *self.stack.blocks]

    def forward(self, inputs: Inputs, slots: Slots | None = None, *, select: Tensor | None = None,
                reduce: Reduce | None = None) -> Output:  # fmt: skip
        """As every model's. A permuted model with `inputs.order` gives at each position the logits of its own token."""
        hidden = self.encode(inputs, slots)
        ready = hidden if self.transform is None else self.transform(hidden)
        ready = ready if self.part.head.scale is None else ready * self.part.head.scale
        weight: Any = self.embedding.weight if self.head is None else self.head.weight
        logits, reduced = language_head(ready, weight, select, reduce, self.head_bias, self.part.head.softcap)
        found = [module.penalty for module in self.modules() if isinstance(module, Experts)] if self.training else []
        return Output(logits, hidden, reduced, sum(found) if found else None)  # type: ignore[arg-type]

    def encode(self, inputs: Inputs, slots: Slots | None = None) -> Tensor:
        self._check(inputs, slots)
        memory, memory_mask = self._memory(inputs, slots)
        return self._run(self.stack, self.embedding_norm, inputs, slots, memory, memory_mask)

    def states(self, inputs: Inputs) -> Tensor:
        """(B, T, D): of an encoder-decoder, what the encoder has; of two streams, that of the tokens."""
        self._check(inputs, None)
        if self.encoder is not None:
            return self._run(self.encoder, self.encoder_embedding_norm, inputs)
        return self._run(self.stack, self.embedding_norm, inputs, content=True)

    def pool(self, inputs: Inputs) -> Tensor:
        """(B, D) for a classifier: of a decoder, the last token's hidden state; of an encoder, what the pooler makes of the
        first, else the mean; of an encoder-decoder, the mean of what the encoder reads."""
        hidden = self.states(inputs)
        if self.pooler is not None:
            return torch.tanh(self.pooler(hidden[:, 0]))
        return (last if self.kind == "causal" else mean)(hidden, inputs.mask)

    def pair_logits(self, hidden: Tensor) -> Tensor:
        """(B, 2): that the second sentence follows the first (class 0), and that it does not, from hidden (B, T, D)."""
        assert self.pairs is not None, "the model was made without head.pairs"
        assert self.pooler is not None
        return self.pairs(torch.tanh(self.pooler(hidden[:, 0]))).float()

    # ------------------------------------------------------------------------------------------------ its parts

    def _run(self, stack: Stack, norm: nn.Module | None, inputs: Inputs, slots: Slots | None = None,
             memory: Tensor | None = None, memory_mask: Tensor | None = None, content: bool = False) -> Tensor:  # fmt: skip
        """One stack over embedded tokens; with two streams their query stream, or with `content` the tokens' alone."""
        x = self.embedding(inputs.tokens) if inputs.embeddings is None else inputs.embeddings
        x = x if self.grams is None else x + self._grams(self.grams, inputs, slots)
        if self.part.embedding.scale:
            x = x * torch.tensor(self.width**0.5, dtype=x.dtype, device=x.device)  # type: ignore[operator]  # rounded as published
        positions = stack.positions(inputs, x.shape[1], slots, x.device)
        x = stack.position.embed(x, positions)
        if self.types is not None:
            x = x + (self.types.weight[0] if inputs.types is None else self.types(inputs.types))
        elif inputs.types is not None:
            raise RequestError("types", text("a model with 'embedding.types'"), text("one without"))
        x = x if norm is None else norm(x)
        if self.query is not None and not content:
            return self._two_streams(x, positions, stack, inputs, slots)
        x = dropout(x, self.part.dropout, self.training)
        return stack(x, positions, inputs, slots, memory, memory_mask)

    def _grams(self, grams: HashedGrams, inputs: Inputs, slots: Slots | None) -> Tensor:
        """(B, T, D) of the n-grams that end at each position; the slots remember the tokens that the next ones begin with."""
        if inputs.embeddings is not None:
            raise RequestError("embeddings", text("a model without 'embedding.grams', which are looked up by tokens"),
                               text("one with them"))  # fmt: skip
        before = None if slots is None else slots.read("grams")
        found = grams(inputs.tokens, inputs.documents, before)
        if slots is not None:
            slots.write("grams", grams.after(inputs.tokens, inputs.mask, before))
        return found

    def _two_streams(self, x: Tensor, positions: Tensor, stack: Stack, inputs: Inputs, slots: Slots | None) -> Tensor:
        """(B, T, D): the query stream, which knows where it stands and no token. In an order of factorisation, a query stands
        at the token that it predicts; without one it reads from left to right, so that it stands one place further on."""
        assert self.query is not None
        ahead = positions if inputs.order is not None else positions + 1
        both = torch.cat([x, stack.position.embed(self.query.expand_as(x), ahead)])
        both = dropout(both, self.part.dropout, self.training)
        rows = (x.shape[0], x.shape[1])
        return stack(both, torch.cat([positions.expand(rows), ahead.expand(rows)]), inputs, slots, streams=2)[rows[0] :]

    def _memory(self, inputs: Inputs, slots: Slots | None) -> tuple[Tensor | None, Tensor | None]:
        """What the decoder looks into: the encoder's hidden states (B, S, D) and which there are (B, S); only the latter
        where the slots remember them."""
        source = inputs.source
        if self.encoder is None:
            if source is not None:
                raise RequestError("source", text("an encoder-decoder model"), text("one without an encoder"))
            return None, None
        if source is not None:
            count = source.tokens.shape[1]
            if self.context is not None and count > self.context:
                raise RequestError("source", text("at most the model's {context} tokens", context=self.context),
                                   text("{count} tokens", count=count))  # fmt: skip
            memory = self._run(self.encoder, self.encoder_embedding_norm, source)
            mask = torch.ones_like(source.tokens, dtype=torch.bool) if source.mask is None else source.mask
            if slots is not None:
                slots.write("memory.length", mask.sum(1, keepdim=True))
            return memory, mask
        if slots is None:
            raise RequestError("source", text("a text for the encoder"), text("none"))
        lengths = slots.read("memory.length")
        return None, torch.arange(int(lengths.max()), device=lengths.device) < lengths

    def _check(self, inputs: Inputs, slots: Slots | None) -> None:
        """RequestError for a row longer than the context."""
        mask, limit = inputs.mask, None if isinstance(slots, RollingSlots) else self.context
        steps = inputs.tokens.shape[1] if inputs.embeddings is None else inputs.embeddings.shape[1]
        if inputs.order is not None and self.query is None:
            raise RequestError("order", text("a model with 'embedding.query'"), text("one without"))
        if self.kind == "masked" and slots is not None:
            raise RequestError("slots", text("a model that generates from left to right"), self.kind)
        if mask is not None and steps > 1 and not torch.compiler.is_compiling():
            assert bool((mask[:, :-1] >= mask[:, 1:]).all()), "padding stands on the right of a row"
        remembered = slots.longest if slots is not None else 0
        if limit is not None and remembered + steps > limit:
            needed = remembered + steps
            if mask is not None and slots is not None:  # of a short row's padding, nothing is asked
                needed = int((slots.lengths + mask.sum(1)).max())
            if needed > limit:
                raise RequestError(text("context"), text("at most the model's {context} tokens", context=limit),
                                   text("{count} tokens", count=needed))  # fmt: skip


class Transform(nn.Module):
    """What BERT does to a hidden state before the logits: norm(activation(dense x)), (…, D) → (…, D)."""

    def __init__(self, part: Any):
        super().__init__()
        self.dense = linear(part.width, part.width, bias=True)
        self.norm = part.norm.build(part.width)
        self.activation = type(part.mlp).activation

    def forward(self, x: Tensor) -> Tensor:
        return self.norm(self.activation(self.dense(x)))
