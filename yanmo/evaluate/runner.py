"""Models × tasks → results.

    for each model: open it once
        for each task it can do: answer every item            answers/MODEL/TASK.jsonl   (kept: a killed run goes on)
        go on with a few prompts, if it generates             answers/MODEL/samples.json
        what it is                                            answers/MODEL/model.json   (written last)
    all answers → results.json (figures with intervals, floors beside) and tables.json (per label, confusions, left out)

A model that cannot do a task is left out, with the reason. An answer that is not finite, or a tie for the first place,
is a wrong answer.
"""

from __future__ import annotations

import json
import math
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from yanmo.core import files
from yanmo.core.console import Console
from yanmo.core.data import Example, Prediction
from yanmo.core.errors import RequestError
from yanmo.core.messages import Text, text
from yanmo.evaluate import measure
from yanmo.evaluate.changes import changes
from yanmo.evaluate.floors import classify_floors, language_floors, pair_floors
from yanmo.evaluate.provenance import provenance
from yanmo.evaluate.subjects import Subject, facts, subjects, together
from yanmo.tasks.base import Task
from yanmo.tasks.classify import Classify, row_tokens
from yanmo.tasks.minimal_pairs import MinimalPairs

if TYPE_CHECKING:
    from yanmo.inference.model import Model

EXCERPT = 300  # characters of a labelled text that its answer repeats
PIECE = 4_000_000  # characters of text scored between two lines of the answer file
SAMPLE_TOKENS, SAMPLE_TEMPERATURE = 80, 0.8


@dataclass
class Evaluation:
    """What an evaluation found: the lines of results.json, and the tables beside them."""

    results: list[dict[str, Any]] = field(default_factory=list)
    tables: dict[str, Any] = field(default_factory=dict)
    samples: list[dict[str, str]] = field(default_factory=list)


@dataclass(frozen=True)
class Assignment:
    """A task with the items to answer, under the name that results give it."""

    name: str
    task: Task
    examples: list[Example]


def evaluate_model(path: str | Path, task: Task, beside: Sequence[str | Path] = (),
                   samples: int | None = None) -> list[dict[str, Any]]:  # fmt: skip
    """The results of one model (of several that answer together; of samples of a posterior) on all the data that `task` names,
    floors among them; RequestError where it cannot."""
    subject = together(subjects([_able(place, task) for place in (path, *beside)]), samples)
    model = subject.open()
    task = task.whole()
    if isinstance(task, Classify) and model.loaded.labels:
        task = task.labelled(model.loaded.labels)
    reason = unfit(model, task)
    if reason is not None:
        raise RequestError(str(path), text("a model for the task '{task}'", task=task.type), reason)
    assignment = Assignment(task.type, task, task.load("test"))
    with tempfile.TemporaryDirectory() as folder:
        answers = Path(folder) / "answers.jsonl"
        files.write_text(answers, "".join(_lines(model, assignment, lambda n: None)))
        return _results({subject.name: _read(answers)}, assignment)


def _able(path: str | Path, task: Task) -> Path:
    """The model directory that `path` names; of a run the last that can do the task (the last of all where none can)."""
    from yanmo.models.store import resolve

    try:
        return resolve(path, lambda config: bool(config.get("id2label")) == (task.head == "classify"))
    except RequestError:
        return resolve(path)


def evaluate(
    subjects: Sequence[Subject],
    assignments: Sequence[Assignment],
    folder: Path,
    prompts: Sequence[str] = (),
    console: Console | None = None,
    seed: int = 0,
) -> Evaluation:
    """Answers in `folder`/answers (those already there are kept), and what follows from them."""
    console = console or Console(quiet=True)
    known: dict[str, dict[str, Any]] = {}
    for subject in subjects:
        known[subject.name] = _examine(subject, assignments, folder / "answers" / subject.name, prompts, console, seed)
    evaluation = Evaluation(tables={
        "models": {name: entry["facts"] for name, entry in known.items()},
        "left_out": [{"model": name, "task": task, "reason": reason}
                     for name, entry in known.items() for task, reason in entry["left_out"].items()],
        "tasks": {},
    })  # fmt: skip
    origins = {subject.name: origin for subject in subjects if (origin := subject.origin(subjects)) is not None}
    for assignment in assignments:
        answers = {name: _read(folder / "answers" / name / f"{assignment.name}.jsonl")
                   for name, entry in known.items() if assignment.name not in entry["left_out"]}  # fmt: skip
        if answers:
            evaluation.results += _results(answers, assignment)
            evaluation.tables["tasks"][assignment.name] = _tables(answers, assignment)
            found = changes(answers, origins, assignment.task.head, _choices(assignment.task))
            evaluation.tables["tasks"][assignment.name] |= {"changes": found} if found else {}
    for name in known:
        path = folder / "answers" / name / "samples.json"
        evaluation.samples += [{"model": name, **sample} for sample in files.read_json(path)] if path.is_file() else []
    return evaluation


def _examine(
    subject: Subject, assignments: Sequence[Assignment], folder: Path, prompts: Sequence[str], console: Console, seed: int
) -> dict[str, Any]:
    """All that needs the model itself. `model.json` is written last: where it is, the model is not opened again."""
    from yanmo.inference.model import generates

    done = folder / "model.json"
    if done.is_file():
        return files.read_json(done)
    model = subject.open()
    left_out = {}
    for assignment in assignments:
        reason = unfit(model, assignment.task)
        path = folder / f"{assignment.name}.jsonl"
        if reason is not None:
            left_out[assignment.name] = reason.render("en")
        elif not path.is_file():
            total = sum(len(example.fields["text"]) for example in assignment.examples)
            with console.bar(f"{subject.name}: {assignment.name}", total, "characters") as bar:
                files.write_text(path, "".join(_lines(model, assignment, bar.advance)))
    if prompts and generates(model.loaded):
        samples = [{"prompt": prompt, "text": model.generate(prompt, max_tokens=SAMPLE_TOKENS,
                    temperature=SAMPLE_TEMPERATURE, seed=seed)} for prompt in prompts]  # fmt: skip
        files.write_json(folder / "samples.json", samples)
    entry = {"facts": {"stage": subject.stage, **facts(model)}, "left_out": left_out}
    files.write_json(done, entry)
    return entry


def unfit(model: Model, task: Task) -> Text | None:
    """Why a model cannot do a task, or None."""
    from yanmo.inference.scoring import unable

    loaded = model.loaded
    if task.head == "language":
        return unable(loaded)
    if not loaded.labels:
        return text("it has no labels: finetune it on the task first")
    assert isinstance(task, Classify), task
    unknown = sorted(set(task.names()) ^ set(loaded.labels))
    if unknown:
        return text("it was made for other labels (not in both: {labels})", labels=", ".join(unknown[:6]))
    return None


# ---------------------------------------------------------------------------------------------- answers


def _lines(model: Model, assignment: Assignment, advance: Callable[[float], Any]) -> list[str]:
    answer = _likelihoods if assignment.task.head == "language" else _labels
    answer = _pairs if isinstance(assignment.task, MinimalPairs) else answer
    lines = []
    for piece in _pieces(assignment.examples):
        lines += [json.dumps(line, ensure_ascii=False) + "\n" for line in answer(model, assignment.task, piece)]
        advance(sum(len(example.fields["text"]) for example in piece))
    return lines


def _pieces(examples: Sequence[Example]) -> list[list[Example]]:
    """Consecutive examples of about PIECE characters, so that memory does not grow with the data."""
    pieces: list[list[Example]] = []
    size = PIECE
    for example in examples:
        if size >= PIECE:
            pieces.append([])
            size = 0
        pieces[-1].append(example)
        size += len(example.fields["text"])
    return pieces


def _likelihoods(model: Model, task: Task, examples: list[Example]) -> list[dict[str, Any]]:
    from yanmo.inference.scoring import score

    found, by, every = score(model.loaded, [example.fields["text"] for example in examples])
    how = ({} if by == "likelihood" else {"by": by}) | ({"every": every} if every > 1 else {})
    return [
        {"id": example.id, "source": example.fields.get("source") or "", "language": example.fields.get("language") or "",
         "nats": measure.rounded(float(nats)), "tokens": int(tokens), "bytes": int(size), **how}
        for example, nats, tokens, size in zip(examples, found.nats, found.tokens, found.bytes)
    ]  # fmt: skip


def _pairs(model: Model, task: Task, examples: list[Example]) -> list[dict[str, Any]]:
    from yanmo.inference.scoring import score

    found, by, _ = score(model.loaded, [example.fields[name] for example in examples for name in ("text", "bad")], whole=True)
    lines = []
    for index, example in enumerate(examples):
        good, bad = (-float(nats) for nats in found.nats[2 * index : 2 * index + 2])
        prediction = task.decode((good, bad), example)
        line = {"id": example.id, "where": example.where, "text": example.fields["text"][:EXCERPT],
                "bad": example.fields["bad"][:EXCERPT], "group": example.fields.get("group") or "",
                "language": example.fields.get("language") or "",
                "label": example.fields["label"], "predicted": prediction.label,
                "score": measure.rounded(good - bad)}  # fmt: skip
        lines.append(line | ({} if by == "likelihood" else {"by": by}))
    return lines


def _labels(model: Model, task: Task, examples: list[Example]) -> list[dict[str, Any]]:
    from yanmo.inference.model import WINDOW

    loaded = model.loaded
    lines = []
    for example, prediction in zip(examples, model.predict([example.fields["text"] for example in examples])):
        cut = row_tokens(prediction.text, loaded.tokenizer, model.context or WINDOW)[1] if loaded.tokenizer else 0
        line = {"id": example.id, "where": example.where, "text": prediction.text[:EXCERPT],
                "group": example.fields.get("group") or "", "label": example.fields["label"], "predicted": prediction.label,
                "score": None if prediction.score is None else round(prediction.score, 6)}  # fmt: skip
        lines.append(line | ({"cut": cut} if cut else {}))
    return lines


def _read(path: Path) -> list[dict[str, Any]]:
    with open(path, encoding="utf-8") as handle:
        return [json.loads(line) for line in handle]


# ---------------------------------------------------------------------------------------------- figures and tables


def _results(answers: dict[str, list[dict]], assignment: Assignment) -> list[dict[str, Any]]:
    name, some = assignment.name, next(iter(answers.values()))
    rows = []
    if isinstance(assignment.task, MinimalPairs):
        for model, lines in answers.items():
            rows += measure.pair_results(model, name, lines)
        return rows + pair_floors(name, some)
    if assignment.task.head == "language":
        for model, lines in answers.items():
            rows += measure.language_results(model, name, lines)
        return rows + language_floors(name, some)
    assert isinstance(assignment.task, Classify)
    names = assignment.task.names()
    for model, lines in answers.items():
        rows += measure.classify_results(model, name, lines, names)
    training = [example.fields["label"] for example in assignment.task.load("train") or assignment.examples]
    return rows + classify_floors(name, some, names, training)


def _choices(task: Task) -> list[str] | None:
    """What a task's answers choose from; None where they are likelihoods."""
    if isinstance(task, MinimalPairs):
        return list(measure.PAIR)
    return task.names() if isinstance(task, Classify) else None


def _tables(answers: dict[str, list[dict]], assignment: Assignment) -> dict[str, Any]:
    """Its kind, how much was tested, what a list of figures cannot hold, and how far each model is behind the best."""
    task = assignment.task
    table: dict[str, Any] = {"type": task.type, "metric": task.metric, "n": len(assignment.examples), "models": {}}
    if isinstance(task, MinimalPairs):
        table["data"] = provenance(task.files())
        for model, lines in answers.items():
            table["models"][model] = {"by": lines[0].get("by", "likelihood"), **task.score(_judged(lines))}
        figures = {model: measure.accuracy(lines, measure.PAIR) for model, lines in answers.items()}
    elif task.head == "language":
        for model, lines in answers.items():
            how = {key: lines[0][key] for key in ("by", "every") if key in lines[0]}
            table["models"][model] = {unit: sum(a[unit] for a in lines) for unit in ("tokens", "bytes")} | how
        figures = {model: measure.bits_per_byte(lines) for model, lines in answers.items() if not measure.pseudo(lines)}
        if not figures:  # masked models alone: nothing to be compared in bits per byte
            return table | {"best": None, "behind": {}}
    else:
        assert isinstance(task, Classify)
        names = task.names()
        table["data"] = provenance(task.files())
        table |= {"labels": names, "concerns": [concern.render("en") for concern in task.check()]}
        for model, lines in answers.items():
            table["models"][model] = {"truncated": sum("cut" in a for a in lines), **task.score(_labelled(lines))}
        figures = {model: measure.macro_f1(lines, names) for model, lines in answers.items()}
    sign = 1 if task.higher_is_better else -1
    values = {model: sign * figure.value for model, figure in figures.items()}
    best = max(values, key=lambda model: values[model] if math.isfinite(values[model]) else -math.inf)
    table |= {"best": best, "behind": {}}
    for model, figure in figures.items():
        if model != best:
            gap = measure.minus(figure, figures[best])
            low, high = gap.bounds() or (math.nan, math.nan)
            table["behind"][model] = {name: measure.rounded(value)
                                      for name, value in (("value", gap.value), ("low", low), ("high", high))}  # fmt: skip
    return table


def _judged(lines: list[dict]) -> list[tuple[Example, Prediction]]:
    return [(Example(line["id"], {"label": line["label"], "group": line["group"]}), Prediction("", line["predicted"]))
            for line in lines]  # fmt: skip


def _labelled(lines: list[dict]) -> list[tuple[Example, Prediction]]:
    return [(Example(line["id"], {"label": line["label"]}), Prediction("", line["predicted"], line["score"])) for line in lines]
