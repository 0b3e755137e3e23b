"""Whether model, tokenizer, objective and renderer fit each other."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from yanmo.core.errors import YanmoError
from yanmo.core.messages import text
from yanmo.tasks.classify import pair_tokens
from yanmo.text.chat import render
from yanmo.train.plan.rehearsal import Nowhere
from yanmo.train.randomness import own_random_numbers
from yanmo.train.soundness.finding import DOOMED, NOTE, SOUND, WARN, Finding, Patient

LOOKED_AT = 64
TALK = [{"role": "user", "content": "Hello, 你好 👋"}, {"role": "assistant", "content": "Hi — 你也好。"}]


def tokenizer(patient: Patient) -> Iterator[Finding]:
    """No token that the model has no embedding for, no row longer than it can read."""
    model: Any = getattr(patient.model, "backbone", patient.model)
    if model is None:
        return
    size, limit = getattr(model, "vocabulary", None), getattr(model, "context", None)
    where = f"{patient.where}.tokenizer"
    if size is not None and patient.tokenizer.size > size:
        yield Finding(DOOMED, where, text("a tokenizer of at most {size} tokens, as many as the model has", size=size),
                      str(patient.tokenizer.size), text("use the tokenizer that the model was trained with"))  # fmt: skip
    elif limit is not None and patient.context is not None and patient.context > limit:
        yield Finding(DOOMED, f"{patient.where}.objective.context", text("at most the model's {context}", context=limit),
                      str(patient.context), text("raise the model's 'context' or lower the other"))  # fmt: skip
    else:
        yield Finding(SOUND, where, figures={"model": size, "tokenizer": patient.tokenizer.size})


def objective(patient: Patient) -> Iterator[Finding]:
    """A model of a kind that the objective trains."""
    model = patient.model
    if model is None:
        with own_random_numbers(), Nowhere():  # its shapes alone
            model = patient.build()
    patient.objective.check(model)  # a RequestError is the finding
    yield Finding(SOUND, f"{patient.where}.objective", figures={"kind": getattr(model, "kind", None)})


def rendering(patient: Patient) -> Iterator[Finding]:
    """Training reads a text as it will be read when the model is used: token for token."""
    rows = patient.labelled
    if rows is None or rows.task.head != "classify":
        return
    where, different, looked = f"{patient.where}.task", 0, rows.train[:LOOKED_AT]
    for example, row in zip(looked, rows.rows):
        used, *_ = pair_tokens(example.fields["text"], example.fields.get("second"), patient.tokenizer, rows.length)
        different += list(row.tokens) != list(used)
    figures = {"looked_at": len(looked), "different": different}
    if different:
        yield Finding(DOOMED, where, text("training rows that are rendered as texts are when the model is used"),
                      text("{count} of {all} differ", count=different, all=len(looked)),
                      text("encode with yanmo.tasks.classify.row_tokens, the one renderer"), figures)  # fmt: skip
    else:
        yield Finding(SOUND, where, figures=figures)


def template(patient: Patient) -> Iterator[Finding]:
    """A chat template with which a conversation begins as the prompt that the model will be given, and begins once."""
    if not patient.tokenizer.chat_template:
        return
    where = f"{patient.where}.tokenizer.chat_template"
    talks = patient.labelled is not None and patient.labelled.task.head == "chat"
    try:
        prompt, whole = render(TALK[:1], patient.tokenizer), render(TALK, patient.tokenizer, generate=False)
    except YanmoError as error:
        yield Finding(DOOMED if talks else NOTE, where, error.expected, error.given, error.remedy)
        return
    begins = [token for token in whole[:2] if token == patient.tokenizer.bos_id]
    if whole[: len(prompt)] != prompt or len(begins) > 1:
        given = text("two document borders at the beginning") if len(begins) > 1 else text("another one")
        yield Finding(DOOMED if talks else NOTE, where, text("a conversation that begins as its prompt"), given)
    elif not any(token in patient.tokenizer.ends for token in whole[len(prompt) :]):
        yield Finding(WARN if talks else NOTE, where, text("an end of a turn behind an answer"), text("none"))
    else:
        yield Finding(SOUND, where)
