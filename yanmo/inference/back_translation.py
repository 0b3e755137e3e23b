"""Texts said in other words: translated into another language and back, by two translators of ours.

Sennrich et al. 2016 (arXiv:1511.06709) made training pairs so, Yu et al. 2018 (arXiv:1804.09541, section 3) copies of a task's
own texts. A translator is what a `finetune` stage made for a `translate` task, a network or the `dictionary`: its languages, its
prompt and its beams are those of that task. A text of which either way leaves something out (too long to be read whole, or cut
off while written) gets no copy.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import lru_cache
from typing import Any, Literal

from pydantic import Field, model_validator

from yanmo.core.console import Console
from yanmo.core.data import Example, content_id
from yanmo.core.errors import RequestError
from yanmo.core.messages import text
from yanmo.inference.model import Model, generates
from yanmo.inference.writing import task_of, written_about
from yanmo.models.base import Loaded
from yanmo.models.writer import TextWriter
from yanmo.tasks.augment.augment import Augment
from yanmo.tasks.translate import Translate

TOGETHER = 64  # texts
ROWS = 1 << 20


class BackTranslation(Augment):
    """The text translated by `there` and back by `back`: stages of runs (RUN/STAGE) that learned to translate.

    `temperature`: 0 takes the likeliest translation, which is one alone; above it `copies` are drawn (Edunov et al. 2018,
    arXiv:1808.09381, find that drawn ones teach more). `share`: of the training rows that get copies."""

    type: Literal["back_translation"] = "back_translation"
    there: str
    back: str
    share: float = Field(1, gt=0, le=1, description="of the training rows that get copies")
    temperature: float = Field(0, ge=0, le=2)

    @model_validator(mode="after")
    def _several(self) -> BackTranslation:
        if self.copies > 1 and not self.temperature:
            raise ValueError(str(text("a 'temperature' above 0 with several copies: the likeliest translation is one alone")))
        return self

    def copies_of(self, examples: Sequence[Example]) -> Iterator[Example]:
        least = [example for example in examples if int(content_id(f"{self.seed}\t{example.id}"), 16) % ROWS < self.share * ROWS]
        shown = [name for name in ("text", "second") if least and name in least[0].fields]
        seen: set[str] = set()  # drawn twice is one copy
        for copy in range(self.copies):
            drawn = (self.temperature, self.seed + copy)
            said = {name: _translated(self.there, self.back, *drawn, tuple(e.fields[name] for e in least)) for name in shown}
            for at, example in enumerate(least):
                made: dict[str, Any] = {name: found[at] for name, found in said.items()}
                if not all(made.values()) or all(made[name] == example.fields[name].strip() for name in shown):
                    continue
                name = content_id("\t".join([example.id, *made.values()]))
                if name not in seen:
                    seen.add(name)
                    yield replace(example, id=name, fields={**example.fields, **made})


@lru_cache(maxsize=16)  # a task's rows are asked for more than once in a run
def _translated(there: str, back: str, temperature: float, seed: int, texts: tuple[str, ...]) -> tuple[str | None, ...]:
    """Each text there and back; None where something was left out."""
    (first, out), (second, home) = translator(there, "there"), translator(back, "back")
    if (out.source, out.target) != (home.target, home.source):
        raise RequestError("augment.back", text("a translator from {source} to {target}", source=out.target, target=out.source),
                           text("one from {source} to {target}", source=home.source, target=home.target))  # fmt: skip
    found: list[str | None] = []
    with Console().bar("back-translation", len(texts), "texts") as bar:
        for start in range(0, len(texts), TOGETHER):
            part: list[str | None] = list(texts[start : start + TOGETHER])
            for loaded, task in ((first, out), (second, home)):
                part = _through(loaded, task, part, temperature, seed)
            found += part
            bar.advance(len(part))
    return tuple(found)


def translator(path: str, field: str) -> tuple[Loaded, Translate]:
    """A model and the translate task that it was tuned for; RequestError for any other."""
    model = Model.open(path)
    task = task_of(model.loaded)
    if not isinstance(task, Translate) or not (isinstance(model.loaded.model, TextWriter) or generates(model.loaded)):
        given = text("no stage") if task is None else text("one made for {task}", task=task.type)
        raise RequestError(f"augment.{field}", text("a stage of a run that learned to translate"), given)
    return model.loaded, task


def _through(loaded: Loaded, task: Translate, texts: Sequence[str | None], temperature: float, seed: int) -> list[str | None]:
    """The translation of each; None where something was left out."""
    places = [at for at, content in enumerate(texts) if content]
    made: list[str | None] = [None] * len(texts)
    asked = [texts[at] or "" for at in places]
    for at, found in zip(places, written_about(loaded, task, asked, temperature, seed), strict=True):
        if not found.cut and found.ended:
            made[at] = found.text or None
    return made
