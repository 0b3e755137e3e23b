"""`yanmo check`: is a recipe valid, is its data there and sound, are its trainings, what would they cost? Nothing is written."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from yanmo.core.energy import carbon, country
from yanmo.core.errors import YanmoError
from yanmo.core.execute import inputs_of
from yanmo.core.messages import text
from yanmo.core.recipe import Entry, Recipe, load
from yanmo.stages.preview import Preview, consult
from yanmo.train.soundness.amounts import energy, size


def check(path: str, overrides: list[str] | None = None, directory: str | Path | None = None) -> dict[str, Any]:
    """{"ok", "problems": [line], "plan": {"stages", "parameters", "memory_bytes", "seconds", "joules", "energy", "carbon"},
    "data", "tokens", "trainings"}.

    `data` is what a sample of each corpus shows (`corpus/survey.py`), `tokens` what each tokenizer would make of it.
    `trainings`: by stage, what the doctor found, and the stage's own plan: steps, parameters, memory, seconds, joules, the
    model's settings as they are in effect. They come from trying the real thing on the outputs of stages that have run in
    `directory` (default runs/NAME), else on the sample (`preview.py`). In the plan, `parameters` and `memory_bytes` are the
    largest of them, `seconds` and `joules` the sum; what is not known is null, never a guess in disguise.
    """
    problems: list[str] = []
    try:
        recipe = load(path, overrides)
    except YanmoError as error:
        return {"ok": False, "problems": [str(error)], "plan": _plan(None, [], {}), "data": {}, "tokens": {}, "trainings": {}}
    place = Path(directory) if directory else Path("runs") / recipe.name
    stages: list[dict[str, str]] = []
    data: dict[str, Any] = {}
    tokens: dict[str, Any] = {}
    trainings: dict[str, Any] = {}
    with tempfile.TemporaryDirectory(prefix="yanmo-") as scratch:
        ahead = Preview(recipe, Path(scratch), place)
        for index, entry in enumerate(recipe.stages):
            what = [entry.stage.type]
            try:
                _look(index, entry, ahead, what, data, tokens, trainings)
            except YanmoError as error:
                problems.append(f"{entry.name}: {error}")
            stages.append({"name": entry.name, "what": "".join(what)})
            problems += [f"{entry.name}: {found['line']}" for found in trainings.get(entry.name, {}).get("findings", ())
                         if found["verdict"] == "doomed"]  # fmt: skip
    return {"ok": not problems, "problems": problems, "plan": _plan(recipe, stages, trainings), "data": data, "tokens": tokens,
            "trainings": trainings}  # fmt: skip


def _look(index: int, entry: Entry, ahead: Preview, what: list[str], data: dict[str, Any], tokens: dict[str, Any],
          trainings: dict[str, Any]) -> None:  # fmt: skip
    """One stage: its links, its files, its data, and what it will give to those behind it."""
    links = inputs_of(index, ahead.recipe, ahead.run_directory)
    what += [f" ← {link.stage or link.path}" for link in links]
    found = entry.stage.files()
    if found:
        what.append(f" · {len(found)} file(s), {sum(Path(p).stat().st_size for p in found) / 1e6:.1f} MB")
    entry.stage.check()
    seen = entry.stage.survey()
    done = ahead.take(entry)
    if seen:
        if not done:
            ahead.corpus(entry, seen)
        seen.pop("texts")
        seen.pop("splits", None)
        data[entry.name] = seen
    elif entry.stage.gives == "tokenizer":
        if not done:
            ahead.tokenizer(entry, links)
        made = ahead.tokens(entry, links, data)
        tokens |= {entry.name: made} if made else {}
    elif entry.stage.gives == "model" and not done:
        patient = ahead.patient(index, entry, links)
        if patient is not None:
            findings, plan = consult(patient)
            trainings[entry.name] = {**plan, "findings": [finding.data() for finding in findings]}


def lines(report: dict[str, Any]) -> Iterator[str]:
    """The report for people."""
    for stage in report["plan"]["stages"]:
        yield f"{stage['name']:<16} {stage['what']}"
    for name, corpus in report["data"].items():
        yield ""
        for source in corpus["sources"]:
            yield str(text("{corpus}: {source} ({type}): about {documents} documents, {size} MB of text; looked at {sampled}",
                           corpus=name, source=source["name"], type=source["type"], documents=f"{source['documents']:,}",
                           size=f"{source['text_bytes'] / 1e6:,.1f}", sampled=source["sampled"]))  # fmt: skip
            fields = ", ".join(f"{key} ({kind})" for key, kind in source["fields"].items())
            yield "  " + str(text("fields: {fields}", fields=fields or "-"))
            yield "  " + str(text("encodings: {encodings}; languages: {languages}", encodings=_shown(source["encodings"]),
                                  languages=_shown(source["languages"])))  # fmt: skip
            yield "  " + str(text("in the sample: {exact} exact duplicates, {near} near-duplicates; quarantined: {broken}",
                                  exact=f"{source['exact_duplicates']:.1%}", near=f"{source['near_duplicates']:.1%}",
                                  broken=_counted(source["quarantined"]) or "0"))  # fmt: skip
        yield "  " + str(text("the steps keep {kept}: about {documents} documents, {size} MB of text",
                              kept=f"{corpus['kept']:.1%}", documents=f"{corpus['documents']:,}",
                              size=f"{corpus['text_bytes'] / 1e6:,.1f}"))  # fmt: skip
        if corpus["dropped"]:
            yield "  " + str(text("and drop: {reasons}", reasons=_shown(corpus["dropped"])))
        yield "  " + str(text("about {seconds} s and {disk} MB on the disk", seconds=f"{corpus['seconds']:,.0f}",
                              disk=f"{corpus['disk_bytes'] / 1e6:,.1f}"))  # fmt: skip
    for name, found in report["tokens"].items():
        longer = ", ".join(f"{context}: {share:.1%}" for context, share in found["longer_than"].items())
        yield str(text("{name}: about {tokens} tokens, {bytes} bytes each; documents longer than a context of {longer}",
                       name=name, tokens=f"{found['tokens']:,}", bytes=found["bytes_a_token"], longer=longer))  # fmt: skip
    for name, training in report["trainings"].items():
        yield from _training(name, training)
    for problem in report["problems"]:
        yield f"! {problem}"


def _training(name: str, training: dict[str, Any]) -> Iterator[str]:
    """What is known of one training before it begins."""
    yield ""
    memory, seconds, joules = training["memory"], training["seconds"], training["joules"]
    told = text("{stage}: {parameters} parameters, {steps} steps; about {memory} of memory, {minutes} minutes, "
                "{energy} ({method})", stage=name, parameters=f"{training['parameters']:,}" if training["parameters"] else "?",
                steps=f"{training['steps']:,}", memory=size(memory["peak"]) if memory else "?",
                minutes=f"{seconds / 60:,.1f}" if seconds is not None else "?",
                energy=energy(joules) if joules is not None else "?", method=text(training["energy"]))  # fmt: skip
    yield str(told)
    if memory:
        parts = ("parameters", "gradients", "optimizer", "activations")
        yield "  " + str(text("memory: {parts}", parts=", ".join(f"{text(part)} {size(memory[part])}" for part in parts)))
    if training["settings"]:
        yield "  " + ", ".join(f"{key} {value}" for key, value in training["settings"].items())
    for found in training["findings"]:
        if found["verdict"] == "warn":
            yield f"  ? {found['line']}"


def _counted(counts: dict[str, int]) -> str:
    return ", ".join(f"{name} {count}" for name, count in counts.items())


def _shown(shares: dict[str, float]) -> str:
    return ", ".join(f"{name} {share:.1%}" for name, share in shares.items()) or "-"


def _plan(recipe: Recipe | None, stages: list[dict[str, str]], trainings: dict[str, Any]) -> dict[str, Any]:
    """The plan of the whole: the largest of the trainings' sizes, the sum of their times and energies where all are known."""
    made = list(trainings.values())
    seconds: float | None = None
    joules: float | None = None
    if made and all(training["seconds"] is not None for training in made):
        seconds = round(sum(training["seconds"] for training in made), 1)
        if all(training["joules"] is not None for training in made):
            joules = round(sum(training["joules"] for training in made), 1)
    if recipe is not None and recipe.budget:
        seconds = recipe.budget.minutes * 60
    sizes = [training["parameters"] for training in made if training["parameters"]]
    memory = [training["memory"]["peak"] for training in made if training["memory"]]
    method = "unknown"
    if joules is not None:
        method = "measured" if all(training["energy"] == "measured" for training in made) else "estimated"
    return {"stages": stages, "parameters": max(sizes, default=None), "memory_bytes": max(memory, default=None),
            "seconds": seconds, "joules": joules, "energy": method, "carbon": carbon(joules, country()) or None}  # fmt: skip
