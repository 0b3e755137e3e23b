"""The ends of an answer: a linear layer gives each token two scores, of being the first and of being the last."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import torch

from yanmo.core.data import Example, Row
from yanmo.core.messages import Text, text
from yanmo.inference.places import scores
from yanmo.models.reader import Reader
from yanmo.objectives.base import Objective
from yanmo.stages.tuning.passes import scored
from yanmo.stages.tuning.tuning import Tuning
from yanmo.tasks.no_answer import best_threshold, margin
from yanmo.tasks.spans import NOWHERE, best_spans
from yanmo.text.metrics import squad
from yanmo.text.windows import windows
from yanmo.train.job import Verdict

if TYPE_CHECKING:
    from yanmo.models.base import LanguageModel
    from yanmo.text.tokenizer import Tokenizer


class SpanTuning(Tuning):
    """Questions about a text to the places of their answers."""

    objective = "extraction"

    def build(self, backbone: LanguageModel, task: Any, rng: torch.Generator, objective: Any = None) -> Reader:
        model = Reader(backbone)
        model.initialise(rng)
        return model

    def rows(self, task: Any, examples: list[Example], tokenizer: Tokenizer, length: int) -> tuple[list[Row], list[int]]:
        """The windows of each text behind its question. Texts are never cut; a question that takes more than half of a row is,
        and its windows are counted as longer by what it lost."""
        rows, lengths = [], []
        for example in examples:
            made = task.studied(example, tokenizer, length)
            cut = windows("", tokenizer, length, before=example.fields["question"])[0].cut
            rows += made
            lengths += [len(row.tokens) if not cut else length + cut for row in made]
        return rows, lengths

    def validate(self, model: torch.nn.Module, objective: Objective, task: Any, examples: list[Example], tokenizer: Tokenizer,
                 length: int) -> Callable[[], Verdict]:  # fmt: skip
        """The task's metric, and the mean cross-entropy of an end."""
        encoded = [task.encode(example, tokenizer, length) for example in examples]
        read = [task.windows(example, tokenizer, length) for example in examples]
        sign = -1.0 if task.higher_is_better else 1.0

        def validate() -> Verdict:
            given, loss = scored(model, objective, [row for rows in encoded for row in rows])
            found, pairs = iter(given), []
            for example, some in zip(examples, read):
                spots = best_spans(some, [next(found) for _ in some], task.answer_tokens, task.best)
                pairs.append((example, task.decode(spots, example)))
            value = float(task.score(pairs)[task.metric])
            return Verdict((sign * value, loss), {task.metric: value, "loss": loss})

        return validate

    def extra(self, task: Any, model: Any, tokenizer: Tokenizer, held_out: list[Example], length: int,
              log: Callable[[Text], None]) -> dict[str, Any] | None:  # fmt: skip
        """Whether it was taught that a question may have no answer, by how much "nowhere" must be ahead then (as the recipe has
        it, else the best on the held-out questions), and how long an answer may be."""
        threshold = task.threshold
        if threshold is None:
            threshold = _chosen(task, model, tokenizer, held_out, length, log) if task.unanswerable and held_out else 0.0
        return {"answers": {"none": task.unanswerable, "threshold": threshold, "tokens": task.answer_tokens}}


def _chosen(task: Any, model: Any, tokenizer: Tokenizer, held_out: list[Example], length: int,
            log: Callable[[Text], None]) -> float:  # fmt: skip
    """The threshold that is best on the held-out questions; 0 where they are all of one kind, which says nothing."""
    kinds = {bool(example.fields["answers"]) for example in held_out}
    if len(kinds) < 2:
        log(text("no answer: the threshold stays 0, as the validation data have no questions of both kinds"))
        return 0.0
    read = [task.windows(example, tokenizer, length) for example in held_out]
    rows = [row for example in held_out for row in task.encode(example, tokenizer, length)]
    found = iter(scores(model.eval(), rows, tokenizer.pad_id))
    margins, answered, silent = [], [], []
    for example, some in zip(held_out, read):
        spots = best_spans(some, [next(found) for _ in some], task.answer_tokens, task.best)
        ahead = margin(spots)
        if ahead is None:
            continue
        span = next(spot for spot in spots if (spot.start, spot.end) != NOWHERE)
        told = [answer["text"] for answer in example.fields["answers"]]
        margins.append(ahead)
        answered.append(squad.score(example.fields["text"][span.start : span.end], told, task.rule).f1)
        silent.append(squad.score("", told, task.rule).f1)
    threshold, best = best_threshold(margins, answered, silent)
    plain = sum(none if ahead > 0 else span for ahead, span, none in zip(margins, answered, silent)) / max(len(margins), 1)
    log(text("no answer: given where it is ahead by more than {threshold} (F1 of {count} validation questions {best}, at 0 "
             "{plain})", threshold=f"{threshold:.3g}", count=len(margins), best=f"{best:.3f}", plain=f"{plain:.3f}"))  # fmt: skip
    return threshold
