"""Prompt tuning (Lester et al. 2021, arXiv:2104.08691): P learned vectors stand before each text, and the model stays as it is.

In training, the vectors are put before the embedded tokens of each row, and what the model has for their positions is left
out. In generation nothing is recomputed: the keys and values of the vectors are the same before every text, so they are made
once and stand before whatever the slots remember.

There is nothing to merge into a matrix: the saved form is the adapter's folder, beside its base.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from pydantic import Field
from torch import Tensor, nn

from yanmo.core.errors import RequestError
from yanmo.core.messages import text
from yanmo.models.adapter import AdapterPart, backbone_of, outside, shelve
from yanmo.models.base import Inputs, LanguageModel, Output, Slots, StateSpec
from yanmo.models.hf import HuggingFaceModel
from yanmo.models.transformer import Transformer
from yanmo.nn.heads import Reduce
from yanmo.nn.state import DenseSlots

if TYPE_CHECKING:
    from yanmo.text.tokenizer import Tokenizer


class PromptTuning(AdapterPart):
    """Prompt tuning: `tokens` learned vectors before each text.

    They begin as the embeddings of tokens drawn from the model's vocabulary (section 3.2)."""

    type: str = "prompt"
    merges: bool = False
    tokens: int = Field(default=20, ge=1)

    def apply(self, model: Any, rng: torch.Generator) -> Any:
        backbone, heads = backbone_of(model), outside(model)
        table = embeddings(backbone)
        if backbone.context is not None and self.tokens >= backbone.context:
            raise RequestError("adapter.tokens", text("fewer than the model's context of {context}", context=backbone.context),
                               str(self.tokens))  # fmt: skip
        chosen = torch.randint(0, backbone.vocabulary, (self.tokens,), generator=rng)
        made = prompted(model, table(chosen.to(table.weight.device)).detach().clone())
        shelve(made, [*heads, backbone_of(made).prompt])
        return made

    def finished(self, model: Any) -> Any:
        return model

    def save(self, folder: Path, model: Any, base: str, tokenizer: Tokenizer | None, labels: list[str]) -> None:
        from yanmo.models import peft

        backbone = backbone_of(model)
        config = {
            "peft_type": "PROMPT_TUNING", "task_type": peft.task_of(model), "base_model_name_or_path": base,
            "inference_mode": True, "num_virtual_tokens": self.tokens, "token_dim": backbone.width,
            "num_transformer_submodules": 1, "num_attention_heads": backbone.heads, "num_layers": backbone.layers,
            "prompt_tuning_init": "SAMPLE_VOCAB",
        }  # fmt: skip
        heads = {peft.OUTER + name: value for name, value in peft.heads_of(model).items()}
        peft.write(folder, config, {"prompt_embeddings": backbone.prompt, **heads}, tokenizer, labels)


def embeddings(backbone: Any) -> nn.Embedding:
    """The table that turns tokens into vectors; RequestError for a model that takes no vectors before its tokens."""
    if isinstance(backbone, Transformer) and backbone.kind in ("causal", "masked"):
        return backbone.embedding
    if isinstance(backbone, HuggingFaceModel) and (backbone.attends or backbone.kind == "masked"):
        return backbone.inner.get_input_embeddings()
    raise RequestError("adapter", text("a decoder or an encoder that takes vectors in the place of tokens (a Transformer)"),
                       f"{type(backbone).__name__} ({getattr(backbone, 'kind', '-')})")  # fmt: skip


def prompted(model: Any, prompt: Tensor) -> Any:
    """The model with `prompt` (P, D) before each text; RequestError for a prompt of another width."""
    backbone = backbone_of(model)
    if prompt.ndim != 2 or prompt.shape[1] != backbone.width:
        expected = text("vectors of the model's width {width}", width=backbone.width)
        raise RequestError("adapter", expected, str(tuple(prompt.shape)))
    made = Prompted(backbone, nn.Parameter(prompt))
    if backbone is model:
        return made
    model.backbone = made
    return model


class Prompted(LanguageModel):
    """`inner` with `prompt` (P, D) before every row. Its context is what the prompt leaves of the model's."""

    def __init__(self, inner: Any, prompt: nn.Parameter):
        super().__init__()
        self.inner, self.prompt = inner, prompt
        self.kind, self.vocabulary, self.width = inner.kind, inner.vocabulary, inner.width
        self.context = None if inner.context is None else inner.context - len(prompt)
        self.head = None
        config = inner.part if isinstance(inner, Transformer) else inner.inner.config
        self.heads = int(getattr(config, "heads", 0) or config.num_attention_heads)
        self.layers = int(getattr(config, "depth", 0) or config.num_hidden_layers)
        self._past: tuple[Any, dict[str, Tensor]] | None = None

    @property
    def family(self) -> str:  # type: ignore[override]
        return self.inner.family

    @property
    def part(self) -> Any:
        return getattr(self.inner, "part", None)

    def state(self) -> dict[str, StateSpec]:
        return self.inner.state()

    def regions(self) -> list[nn.Module]:
        return self.inner.regions()

    def forward(self, inputs: Inputs, slots: Slots | None = None, *, select: Tensor | None = None,
                reduce: Reduce | None = None) -> Output:  # fmt: skip
        if slots is not None:
            return self.inner(inputs, self._behind(slots), select=select, reduce=reduce)
        rows, steps = inputs.tokens.shape
        own = torch.zeros(rows, len(self.prompt), dtype=torch.bool, device=inputs.tokens.device)
        chosen = torch.ones_like(inputs.tokens, dtype=torch.bool) if select is None else select
        found = self.inner(self._before(inputs), select=torch.cat([own, chosen], 1), reduce=reduce)
        logits = found.logits
        if logits is not None and select is None:
            logits = logits.view(rows, steps, -1)
        return replace(found, logits=logits, hidden=None if found.hidden is None else found.hidden[:, len(self.prompt) :])

    def encode(self, inputs: Inputs, slots: Slots | None = None) -> Tensor:
        if slots is not None:
            return self.inner.encode(inputs, self._behind(slots))
        return self.inner.encode(self._before(inputs))[:, len(self.prompt) :]

    def states(self, inputs: Inputs) -> Tensor:
        return self.inner.states(self._before(inputs))[:, len(self.prompt) :]

    def pool(self, inputs: Inputs) -> Tensor:
        return self.inner.pool(self._before(inputs))

    def _before(self, inputs: Inputs) -> Inputs:
        """The inputs with the prompt before them."""
        for name in ("documents", "positions", "order", "prefix"):
            if getattr(inputs, name) is not None:
                given = text("'{name}' is needed and is not supported", name=name)
                raise RequestError(name, text("rows of one text, with a soft prompt"), given)
        rows, count = len(inputs.tokens), len(self.prompt)

        def filled(x: Tensor | None, value: int) -> Tensor | None:
            return None if x is None else torch.cat([x.new_full((rows, count), value), x], 1)

        embedded = embeddings(self.inner)(inputs.tokens) if inputs.embeddings is None else inputs.embeddings
        whole = torch.cat([self.prompt.to(embedded.dtype).expand(rows, -1, -1), embedded], 1)
        tokens = filled(inputs.tokens, 0)
        assert tokens is not None
        return replace(inputs, tokens=tokens, mask=filled(inputs.mask, 1), types=filled(inputs.types, 0), embeddings=whole)

    def _behind(self, slots: Slots) -> Slots:
        """The slots as the model sees them, with the prompt's keys and values before what they remember."""
        return Behind(slots, len(self.prompt), self._remembered())

    @torch.no_grad()
    def _remembered(self) -> dict[str, Tensor]:
        """Name → (1, P, *shape): what the model remembers of the prompt, made once for a prompt that does not change."""
        version = (self.prompt.data_ptr(), self.prompt._version, self.prompt.device)
        if self._past is None or self._past[0] != version:
            slots = DenseSlots(self.inner.state(), 1, len(self.prompt), self.prompt.device)
            tokens = torch.zeros(1, len(self.prompt), dtype=torch.int64, device=self.prompt.device)
            self.inner(Inputs(tokens, embeddings=self.prompt[None]), slots, select=torch.zeros_like(tokens, dtype=torch.bool))
            self._past = (version, {name: slots.read(name)[:, : len(self.prompt)].clone() for name in self.inner.state()})
        return self._past[1]


class Behind:
    """Slots whose rows all begin with the same P entries, which are kept once."""

    def __init__(self, slots: Any, count: int, past: dict[str, Tensor]):
        self.slots, self.count, self.past = slots, count, past

    @property
    def rows(self) -> Tensor:
        return self.slots.rows

    @property
    def lengths(self) -> Tensor:
        return self.slots.lengths + self.count

    @property
    def longest(self) -> int:
        return self.slots.longest + self.count

    @property
    def even(self) -> bool:
        return self.slots.even

    def read(self, name: str) -> Tensor:
        found, past = self.slots.read(name), self.past[name]
        return torch.cat([past.to(found.dtype).expand(len(found), *past.shape[1:]), found], 1)

    def write(self, name: str, value: Tensor) -> None:
        self.slots.write(name, value)
