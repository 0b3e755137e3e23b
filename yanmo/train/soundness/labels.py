"""The labelled rows of a fine-tuning: labels, contradictions, texts on both sides of a split, texts that are cut."""

from __future__ import annotations

import unicodedata
from collections import Counter
from collections.abc import Iterator

import xxhash

from yanmo.core.data import Example
from yanmo.core.errors import DataError
from yanmo.core.messages import text
from yanmo.tasks.labelled import inputs, labels_of
from yanmo.train.soundness.finding import DOOMED, SOUND, WARN, Finding, Patient

LEAKED, MOST = 0.02, 0.3  # of the held-out texts
CUT_SOME, CUT_MOST = 0.1, 0.5  # of the texts, of the tokens
ALL = 0.995  # of the rows
CONTRADICT = 0.2
ASKED = ("question", "prompt", "messages", "text")  # fields of an example that are no part of the answer


def classes(patient: Patient) -> Iterator[Finding]:
    """More than one label to learn, and none that is only asked for."""
    rows = patient.labelled
    if rows is None or not rows.train or rows.task.head != "classify":
        return
    counts = Counter(label for example in rows.train for label in labels_of(example))
    asked = {label for example in (*rows.held_out, *rows.test) for label in labels_of(example)}
    absent = [name for name in rows.names if not counts[name]]
    [(label, most)] = counts.most_common(1) or [("", len(rows.train))]
    figures = {"labels": len(rows.names), "absent": absent[:20], "largest": round(most / len(rows.train), 4)}
    where = f"{patient.where}.task"
    if most >= ALL * len(rows.train) and counts.total() - most <= (1 - ALL) * len(rows.train):
        yield Finding(DOOMED, where, text("at least two labels in the training data"), text("only '{label}'", label=label),
                      text("check that every label occurs in it"), figures)  # fmt: skip
    elif absent:
        shown = ", ".join(f"'{name}'" for name in absent[:12])
        needed = sorted(asked & set(absent))
        yield Finding(DOOMED if needed else WARN, where, text("training rows for every label"),
                      text("no training row has the label {labels}", labels=shown),
                      text("label some, or take it out of 'labels'"), figures)  # fmt: skip
    else:
        yield Finding(SOUND, where, figures=figures)


def contradictions(patient: Patient) -> Iterator[Finding]:
    """The same text with two labels: no model can have both right."""
    rows = patient.labelled
    if rows is None or not rows.train or rows.task.head != "classify":
        return
    labels: dict[bytes, set[str]] = {}
    for example in rows.train:
        labels.setdefault(alike(inputs(example.fields)), set()).add(example.fields["label"])
    both = [e for e in rows.train if len(labels[alike(inputs(e.fields))]) > 1]
    share = len(both) / len(rows.train)
    figures = {"rows": len(rows.train), "contradict": len(both)}
    if both:
        yield Finding(DOOMED if share > CONTRADICT else WARN, both[0].where or f"{patient.where}.task",
                      text("one label for one text"),
                      text("{count} of {all} training texts have two", count=len(both), all=len(rows.train)),
                      text("decide for one of them, or drop the text"), figures)  # fmt: skip
    else:
        yield Finding(SOUND, f"{patient.where}.task", figures=figures)


def leakage(patient: Patient) -> Iterator[Finding]:
    """Validation and test texts that also stand in the training rows, letter case, spaces and marks aside."""
    rows = patient.labelled
    if rows is None:
        return
    seen = {alike(asked(example)) for example in rows.train}
    for split, examples in (("validation", rows.held_out), ("test", rows.test)):
        again = [example for example in examples if alike(asked(example)) in seen]
        share = len(again) / max(len(examples), 1)
        figures = {"split": split, "texts": len(examples), "also_trained": len(again)}
        if share > LEAKED:
            yield Finding(DOOMED if share > MOST else WARN, again[0].where or f"{patient.where}.task",
                          text("{split} texts that are not trained on", split=split),
                          text("{count} of {all} also stand in the training rows", count=len(again), all=len(examples)),
                          text("take them out of one of the two: what they measure is memory"), figures)  # fmt: skip
        else:
            yield Finding(SOUND, f"{patient.where}.task", figures=figures)


def validation(patient: Patient) -> Iterator[Finding]:
    """Rows to validate on where the training asks for them."""
    rows = patient.labelled
    if rows is None:
        return
    asked = [name for name in ("patience", "validate_every") if getattr(patient.train, name)]
    files = ", ".join(str(p) for p in rows.task.files())
    if not rows.held_out and asked:
        yield Finding(DOOMED, files, text("rows in the validation split"), text("none"),
                      text("give the task 'validation' rows, or leave out 'patience' and 'validate_every'"),
                      kind=DataError)  # fmt: skip
    elif not rows.held_out:
        yield Finding(WARN, files, text("rows in the validation split"), text("none"),
                      text("without them the last weights are kept, good or bad"))  # fmt: skip
    else:
        yield Finding(SOUND, files, figures={"rows": len(rows.held_out)})


def truncation(patient: Patient) -> Iterator[Finding]:
    """How much of the texts the model will never read."""
    rows = patient.labelled
    if rows is None or not rows.lengths:
        return
    cut = [n for n in rows.lengths if n > rows.length]
    lost = sum(n - rows.length for n in cut) / sum(rows.lengths)
    share = len(cut) / len(rows.lengths)
    figures = {"rows": len(rows.lengths), "cut": len(cut), "tokens_lost": round(lost, 4), "length": rows.length,
               "longest": sorted(rows.lengths, reverse=True)[:20]}  # fmt: skip
    given = text("{count} of {all} are longer, and {share} of all tokens are cut off", count=len(cut), all=len(rows.lengths),
                 share=f"{lost:.0%}")  # fmt: skip
    if lost > CUT_MOST or share > CUT_SOME:
        yield Finding(DOOMED if lost > CUT_MOST else WARN, f"{patient.where}.task",
                      text("texts of at most {length} tokens", length=rows.length), given,
                      text("use a model with a longer context, or shorter texts"), figures)  # fmt: skip
    else:
        yield Finding(SOUND, f"{patient.where}.task", figures=figures)


def asked(example: Example) -> str:
    """All that a model is given of an example."""
    return "\n".join(str(example.fields[name]) for name in ASKED if example.fields.get(name))


def alike(content: str) -> bytes:
    """What texts have in common that differ in letter case, width, spaces and marks alone; whole where nothing is left."""
    folded = unicodedata.normalize("NFKC", content).casefold()
    kept = "".join(c for c in folded if c.isalnum() or unicodedata.category(c)[0] in "MS")
    return xxhash.xxh3_128_digest((kept or content).encode("utf-8", "surrogatepass"))
