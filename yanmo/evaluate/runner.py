"""Models × tasks → results.

    for each model: open it once
        for each task it can do: answer every item            answers/MODEL/TASK.jsonl   (kept: a killed run goes on)
        go on with a few prompts, if it generates             answers/MODEL/samples.json
        what it is                                            answers/MODEL/model.json   (written last)
    all answers → results.json (figures with intervals, floors beside) and tables.json (per label, confusions, left out)

What a model is asked and what its answers amount to is the matter of the task's head (`head.py`, `heads/`). A model that
cannot do a task is left out, with the reason. An answer that is not finite, or a tie for the first place, is a wrong answer.
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
from yanmo.core.data import Example
from yanmo.core.errors import RequestError
from yanmo.core.messages import text
from yanmo.evaluate import measure
from yanmo.evaluate.changes import changes
from yanmo.evaluate.head import head_of
from yanmo.evaluate.permutation import p_value
from yanmo.evaluate.subjects import Subject, facts, subjects, together
from yanmo.tasks.base import Task
from yanmo.tasks.splits import SPLITS

if TYPE_CHECKING:
    from yanmo.inference.model import Model

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


def evaluate_model(path: str | Path, task: Task, beside: Sequence[str | Path] = (), samples: int | None = None,
                   contamination: bool = False) -> list[dict[str, Any]]:  # fmt: skip
    """The results of one model (of several that answer together; of samples of a posterior) on all the data that `task` names,
    floors among them; RequestError where it cannot. `contamination`: also on the items that it was trained on, and on those
    that it was not, as groups."""
    subject = together(subjects([_able(place, task) for place in (path, *beside)]), samples)
    model = subject.open()
    head = head_of(task)
    task = head.suited(task.whole(), model)
    reason = head.unfit(model, task)
    if reason is not None:
        raise RequestError(str(path), text("a model for the task '{task}'", task=task.type), reason)
    assignment = Assignment(task.type, task, task.load("test"))
    with tempfile.TemporaryDirectory() as folder:
        answers = Path(folder) / "answers.jsonl"
        files.write_text(answers, "".join(_lines(model, assignment, lambda n: None)))
        lines = _read(answers)
    dirt = _by_contamination(subject, assignment, lines) if contamination else []
    return head.results(assignment.name, task, {subject.name: lines}) + dirt


def _by_contamination(subject: Subject, assignment: Assignment, lines: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Results on clean and dirty items; RequestError for a model whose training text is not known."""
    table = _contamination([subject], {subject.name: lines}, assignment).get(subject.name)
    if table is None:
        raise RequestError(str(subject.folder), text("a model whose training text is found through its run"), text("none"))
    return [{"model": subject.name, "task": assignment.name, "metric": metric, **ends[kind], "n": table[kind], "group": kind}
            for kind in ("clean", "dirty") for metric, ends in table["figures"].items() if kind in ends]  # fmt: skip


def _able(path: str | Path, task: Task) -> Path:
    """The model directory that `path` names; of a run the last that can do the task (the last of all where none can)."""
    from yanmo.models.store import resolve

    try:
        return resolve(path, head_of(task).able)
    except RequestError:
        return resolve(path)


def evaluate(
    subjects: Sequence[Subject],
    assignments: Sequence[Assignment],
    folder: Path,
    prompts: Sequence[str] = (),
    console: Console | None = None,
    seed: int = 0,
    contamination: bool = False,
) -> Evaluation:
    """Answers in `folder`/answers (those already there are kept), and what follows from them. `contamination`: also which test
    items stand in what each model was trained on, which takes reading that."""
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
            evaluation.results += head_of(assignment.task).results(assignment.name, assignment.task, answers)
            evaluation.tables["tasks"][assignment.name] = _tables(answers, assignment)
            if contamination:
                evaluation.tables["tasks"][assignment.name]["contamination"] = _contamination(subjects, answers, assignment)
            found = changes(answers, origins, assignment.task)
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
        head = head_of(assignment.task)
        reason = head.unfit(model, assignment.task)
        path = folder / f"{assignment.name}.jsonl"
        if reason is not None:
            left_out[assignment.name] = reason.render("en")
        elif not path.is_file():
            total = sum(map(head.size, assignment.examples))
            with console.bar(f"{subject.name}: {assignment.name}", total, "characters") as bar:
                files.write_text(path, "".join(_lines(model, assignment, bar.advance)))
    if prompts and generates(model.loaded):
        samples = [{"prompt": prompt, "text": model.generate(prompt, max_tokens=SAMPLE_TOKENS,
                    temperature=SAMPLE_TEMPERATURE, seed=seed)} for prompt in prompts]  # fmt: skip
        files.write_json(folder / "samples.json", samples)
    entry = {"facts": {"stage": subject.stage, **facts(model)}, "left_out": left_out}
    files.write_json(done, entry)
    return entry


# ---------------------------------------------------------------------------------------------- answers


def _lines(model: Model, assignment: Assignment, advance: Callable[[float], Any]) -> list[str]:
    head, lines = head_of(assignment.task), []
    for piece in _pieces(assignment.examples, head.size):
        answers = head.answer(model, assignment.task, piece)
        assert [answer["id"] for answer in answers] == [example.id for example in piece], "a line for each item, in their order"
        lines += [json.dumps(answer, ensure_ascii=False) + "\n" for answer in answers]
        advance(sum(map(head.size, piece)))
    return lines


def _pieces(examples: Sequence[Example], weigh: Callable[[Example], int]) -> list[list[Example]]:
    """Consecutive examples of about PIECE characters, so that memory does not grow with the data."""
    pieces: list[list[Example]] = []
    size = PIECE
    for example in examples:
        if size >= PIECE:
            pieces.append([])
            size = 0
        pieces[-1].append(example)
        size += weigh(example)
    return pieces


def _contamination(subjects: Sequence[Subject], answers: dict[str, list[dict]], assignment: Assignment) -> dict[str, Any]:
    """Model → what it scores on items that it was trained on and on others; models of the same corpora are looked up together."""
    from yanmo.evaluate import contamination

    searched: dict[tuple[Path, ...], contamination.Found] = {}
    told: dict[tuple[Path, ...], dict[str, Any]] = {}
    tables = {}
    for subject in subjects:
        places = tuple(dict.fromkeys(p for folder in (subject.folder, *subject.others) for p in contamination.corpora(folder)))
        if subject.name in answers and places:
            if places not in searched:
                searched[places] = contamination.search(assignment.examples, contamination.documents(places))
                told[places] = contamination.told(searched[places], assignment.examples, places)
            scores = contamination.table(searched[places], answers[subject.name], head_of(assignment.task), assignment.task)
            tables[subject.name] = scores | told[places]
    return tables


def _read(path: Path) -> list[dict[str, Any]]:
    with open(path, encoding="utf-8") as handle:
        return [json.loads(line) for line in handle]


# ---------------------------------------------------------------------------------------------- figures and tables


def _tables(answers: dict[str, list[dict]], assignment: Assignment) -> dict[str, Any]:
    """Its kind, how much was tested, what a list of figures cannot hold, and how far each model is behind the best."""
    task, head = assignment.task, head_of(assignment.task)
    table: dict[str, Any] = {"type": task.type, "metric": task.metric, "n": len(assignment.examples), "models": {}}
    table |= head.about(task)
    optimum = head.optimum(task)
    table |= {"optimum": optimum} if optimum is not None else {}
    table |= {"rows": {split: count for split in SPLITS if (count := len(task.load(split)))}} if task.files() else {}
    table["models"] = {model: head.table(task, lines) for model, lines in answers.items()}
    figures = {model: figure for model, lines in answers.items() if (figure := head.figure(task, lines)) is not None}
    if not figures:  # masked models alone: nothing to be compared in bits per byte
        return table | {"best": None, "behind": {}}
    sign = 1 if task.higher_is_better else -1
    values = {model: sign * figure.value for model, figure in figures.items()}
    best = max(values, key=lambda model: values[model] if math.isfinite(values[model]) else -math.inf)
    table |= {"best": best, "behind": {}}
    for model, figure in figures.items():
        if model != best:
            gap = measure.minus(figure, figures[best])
            low, high = gap.bounds() or (math.nan, math.nan)
            both = head.figure(task, [*answers[model], *answers[best]])
            p = p_value(both) if both is not None else None
            ends = {name: measure.rounded(value) for name, value in (("value", gap.value), ("low", low), ("high", high))}
            table["behind"][model] = {**ends, "p": p if p is None else measure.digits(p)}
    return table
