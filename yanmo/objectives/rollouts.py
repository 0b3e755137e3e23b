"""Answers that the model itself gives to a step's prompts, and what they are worth: what objectives with rollouts train on.

    prompts ──generate, `group` answers each──> answers ──reward──> Rollouts ──the objective's own advantages──> micro-batches

A step's answers follow from the step's random numbers and the model as it is then. With `repeats` above 1 as many steps are
made on the same answers; they are kept beside the checkpoints (`rollouts/`), so that a run that is killed among those steps
goes on with the same.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any, ClassVar, Self

import torch
from pydantic import Field, PrivateAttr, model_validator
from torch import Tensor

from yanmo.core import files
from yanmo.core.data import Example, Row
from yanmo.core.messages import text
from yanmo.models.base import Inputs
from yanmo.objectives.base import Batch, Context, Objective
from yanmo.objectives.likelihoods import answered, imagined, token_likelihoods
from yanmo.objectives.packing import padded, real

FOLDER = "rollouts"


@dataclass
class Asked(Batch):
    """A step's prompts (P, T), padded on the right. `step`: which one of the training it is, from 0, where it is one of the
    training's own (None: a trial)."""

    prompts: list[list[int]] = field(default_factory=list)
    examples: list[Example] = field(default_factory=list)
    step: int | None = None


@dataclass
class Rollouts(Batch):
    """Prompts with the model's answers, whole texts (B, T) in `inputs`, the answers of one prompt side by side. (B, T - 1):
    what belongs to the answers' tokens, where `answered` says; (B,): what belongs to whole answers."""

    begins: Tensor | None = None  # (B,): where the answer begins
    rewards: Tensor | None = None  # (B,)
    cut: Tensor | None = None  # (B,) 1 where the answer was as long as it may be without coming to its end
    flat: Tensor | None = None  # (B,) 1 where all answers to its prompt got the same reward
    advantages: Tensor | None = None  # (B, T - 1)
    shares: Tensor | None = None  # (B, T - 1): what each token counts
    counts: Tensor | None = None  # (B,): what each row counts in the step's mean
    old: Tensor | None = None  # (B, T - 1) ln p when the answers were given
    reference: Tensor | None = None  # (B, T - 1) ln p under the reference
    returns: Tensor | None = None  # (B, T - 1): what the values should have been
    best: Tensor | None = None  # (B,): what the best answer to the prompt was worth

    @property
    def weight(self) -> float:
        assert self.counts is not None
        return float(self.counts.sum())

    @property
    def answered(self) -> Tensor:
        """(B, T - 1) bool: the positions that predict an answer's token."""
        assert self.begins is not None
        return answered(self.inputs, self.begins)

    @property
    def lengths(self) -> Tensor:
        """(B,) tokens of the answers."""
        return self.answered.sum(1).float()

    def some(self, rows: Tensor) -> Rollouts:
        """The rows of these numbers, padded as far as they need."""
        assert self.begins is not None
        ends = self.begins + self.answered.sum(1)
        longest = int(ends[rows].max())

        def cut(name: str, value: Any) -> Any:
            if isinstance(value, Inputs):
                mask = torch.arange(longest, device=rows.device) < ends[rows][:, None]
                return Inputs(value.tokens[rows, :longest], mask=None if bool(mask.all()) else mask)
            if isinstance(value, Tensor):
                return value[rows, : longest - 1] if value.ndim == 2 else value[rows]
            return [value[row] for row in rows.tolist()] if isinstance(value, list) and value else value

        return replace(self, **{f.name: cut(f.name, getattr(self, f.name)) for f in fields(self)})

    def parts(self, size: int) -> Iterator[Rollouts]:
        """Micro-batches of at most `size` rows, those of like length together."""
        ends = self.lengths + (self.begins if self.begins is not None else 0)
        order = torch.argsort(ends, descending=True, stable=True)
        for rows in order.split(size):
            yield self.some(rows)


class Rolling(Objective):
    """An objective that trains on the model's own answers.

    `group`: answers to each prompt; `prompts`: of a step; `max_tokens`: of an answer; `temperature`: at which they are drawn;
    `stop`: texts that end an answer; `repeats`: steps that are made on the same answers."""

    kinds: ClassVar[tuple[str, ...]] = ("causal",)

    group: int = Field(default=8, ge=1)
    prompts: int = Field(default=8, ge=1)
    max_tokens: int = Field(default=128, ge=1)
    temperature: float = Field(default=1.0, gt=0, le=100)
    stop: list[str] = Field(default_factory=list)
    repeats: int = Field(default=1, ge=1)

    _context: Context | None = PrivateAttr(default=None)
    _size: int = PrivateAttr(default=1 << 30)
    _kept: dict[str, Rollouts] = PrivateAttr(default_factory=dict)
    _shown: tuple[Example, str, float] | None = PrivateAttr(default=None)

    @model_validator(mode="after")
    def _no_smoothing(self) -> Self:
        if self.smoothing:
            raise ValueError(str(text("'{names}' left out: it has no effect here", names="smoothing")))
        return self

    @property
    def refers(self) -> bool:
        """Whether it needs a reference model."""
        return False

    def bind(self, context: Context) -> Self:
        bound = self.model_copy()
        bound._context, bound._kept = context, {}
        return bound

    def sized(self, rows: int) -> Self:
        """The same in micro-batches of at most so many answers."""
        made = self.model_copy()
        made._context, made._size, made._kept = self._context, rows, {}
        return made

    def trained(self, model: Any, rng: torch.Generator) -> Any:
        """What is trained of a language model: itself, or with something beside it."""
        return model

    def policy(self, model: Any) -> Any:
        """The language model in what is trained."""
        return model

    @property
    def shown(self) -> tuple[Example, str, float] | None:
        """The last answer, and what it was worth."""
        return self._shown

    def collate(self, rows: list[Row], rng: torch.Generator) -> Asked:
        """Prompts; each row's `label` is its example."""
        assert self._context is not None, "an objective is bound before it collates"
        prompts = [list(row.tokens) for row in rows]
        tokens = torch.from_numpy(padded(prompts, self._context.tokenizer.pad_id))
        return Asked(Inputs(tokens, mask=real(prompts)), items=[row.example for row in rows], prompts=prompts,
                     examples=[row.label for row in rows])  # fmt: skip

    # ------------------------------------------------------------------------------------------------ a step

    def expand(self, model: Any, batch: Batch, rng: torch.Generator) -> Iterator[Batch]:
        if not isinstance(batch, Asked):
            yield batch
            return
        if imagined(model):
            made = self.prepared(model, self._imagined(batch), dreamt=True)
        else:
            made = self._remembered(model, batch, rng)
        share = len(batch.prompts) / self.prompts  # a part of a step's prompts is cut as fine as the whole
        yield from made.parts(max(1, math.ceil(min(self._size, self.prompts * self.group) * min(share, 1.0))))

    def _remembered(self, model: Any, batch: Asked, rng: torch.Generator) -> Rollouts:
        """Fresh answers, or where a step is not the first on its answers, those of the first."""
        if self.repeats == 1 or batch.step is None:
            return self._rolled(model, batch, rng)
        first = batch.step - batch.step % self.repeats
        name = f"{first}-{files.digest(batch.items)[:12]}"
        device = next(model.parameters()).device
        if batch.step != first:
            if name not in self._kept:
                self._kept[name] = self._read(name)
            return self._kept[name].to(device)  # type: ignore[return-value]
        made = self._rolled(model, batch, rng)
        self._kept = {known: kept for known, kept in self._kept.items() if known.startswith(f"{first}-")}
        self._kept[name] = made
        self._write(name, made)
        return made

    def _rolled(self, model: Any, batch: Asked, rng: torch.Generator) -> Rollouts:
        context = self._context
        assert context is not None
        assert context.generate is not None, "rollouts need something that generates"
        assert context.reward is not None, "rollouts need a reward"
        prompts = [prompt for prompt in batch.prompts for _ in range(self.group)]
        examples = [example for example in batch.examples for _ in range(self.group)]
        seeds = torch.randint(2**62, (len(prompts),), generator=rng).tolist()
        with still(model):
            found = context.generate(self.policy(model), prompts, seeds, max_tokens=self.max_tokens,
                                     temperature=self.temperature, stop=self.stop)  # fmt: skip
            rewards = torch.tensor(context.reward(examples, [one.text for one in found]), dtype=torch.float32)
            self._shown = (examples[-1], found[-1].text, float(rewards[-1]))
            made = self._put_together(prompts, [one.ids for one in found], rewards, [one.finish == "length" for one in found],
                                      [item for item in batch.items for _ in range(self.group)])  # fmt: skip
            return self.prepared(model, made.to(next(model.parameters()).device))  # type: ignore[arg-type]

    def _put_together(self, prompts: list[list[int]], answers: list[list[int]], rewards: Tensor, cut: list[bool],
                      items: list[Any]) -> Rollouts:  # fmt: skip
        assert self._context is not None
        texts = [[*prompt, *answer] for prompt, answer in zip(prompts, answers)]
        tokens = torch.from_numpy(padded(texts, self._context.tokenizer.pad_id))
        groups = rewards.view(-1, self.group)
        flat = (groups == groups[:, :1]).all(1).repeat_interleave(self.group)
        return Rollouts(Inputs(tokens, mask=real(texts)), items=items, begins=torch.tensor([len(prompt) for prompt in prompts]),
                        rewards=rewards, cut=torch.tensor(cut).float(), flat=flat.float())  # fmt: skip

    def _imagined(self, batch: Asked) -> Rollouts:
        """Answers as long as they may be, for a rehearsal."""
        prompts = [prompt for prompt in batch.prompts for _ in range(self.group)]
        answers = [[0] * self.max_tokens for _ in prompts]
        return self._put_together(prompts, answers, torch.zeros(len(prompts)), [True] * len(prompts), [""] * len(prompts))

    def prepared(self, model: Any, made: Rollouts, dreamt: bool = False) -> Rollouts:
        """The rollouts with what the objective trains by; `dreamt`: there is nothing in the model to compute it with."""
        raise NotImplementedError

    def token_values(self, made: Rollouts, model: Any, dreamt: bool = False) -> Tensor:
        """(B, T - 1) ln p of the answers' tokens under a model, 0 elsewhere; without a gradient, in micro-batches."""
        assert self._context is not None
        assert made.begins is not None
        found = torch.zeros(made.answered.shape, device=made.begins.device)
        if dreamt:
            return found
        with torch.no_grad(), self._context.within():
            for rows in torch.arange(len(found), device=found.device).split(min(self._size, len(found))):
                part = made.some(rows)
                assert part.begins is not None
                values, _ = token_likelihoods(model, part.inputs, part.begins, self.temperature)
                chosen = part.answered
                even = torch.zeros(chosen.shape, device=found.device)
                found[rows, : chosen.shape[1]] = even.masked_scatter(chosen, values.float())
        return found

    @property
    def referred(self) -> Any:
        """The reference model."""
        assert self._context is not None
        return self._context.models["reference"]

    # ------------------------------------------------------------------------------------------------ kept answers

    def _place(self, name: str) -> Path:
        assert self._context is not None
        assert self._context.folder is not None, "answers for several steps are kept in a folder"
        return self._context.folder / FOLDER / f"{name}.safetensors"

    def _write(self, name: str, made: Rollouts) -> None:
        from safetensors.torch import save_file

        tensors = {f.name: getattr(made, f.name) for f in fields(made) if isinstance(getattr(made, f.name), Tensor)}
        tensors["tokens"] = made.inputs.tokens
        if made.inputs.mask is not None:
            tensors["mask"] = made.inputs.mask
        place = self._place(name)
        place.parent.mkdir(exist_ok=True)
        with files.atomic(place) as temporary:
            save_file({key: value.cpu().contiguous() for key, value in tensors.items()}, temporary,
                      {"items": json.dumps(made.items)})  # fmt: skip

    def _read(self, name: str) -> Rollouts:
        from safetensors import safe_open

        with safe_open(self._place(name), framework="pt") as handle:
            tensors = {key: handle.get_tensor(key) for key in handle.keys()}  # noqa: SIM118 - no mapping
            items = json.loads(handle.metadata()["items"])
        return Rollouts(Inputs(tensors.pop("tokens"), mask=tensors.pop("mask", None)), items=items, **tensors)


@contextmanager
def still(model: Any) -> Iterator[None]:
    """The model as it is used, without dropout; afterwards as it was."""
    training = model.training
    model.eval()
    try:
        yield
    finally:
        model.train(training)
