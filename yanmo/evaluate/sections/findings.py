"""The report's first lines: what the figures say, in sentences made of them, the unwelcome ones included."""

from __future__ import annotations

from yanmo.evaluate.floors import FLOORS
from yanmo.evaluate.head import head_by_type
from yanmo.evaluate.numbers import count, duration, figure, say
from yanmo.evaluate.page import Markup, listing, tag
from yanmo.evaluate.record import Record
from yanmo.evaluate.sections import contamination, labels, likelihood, pairs
from yanmo.evaluate.sections.scores import tile


def section(record: Record) -> list[Markup]:
    tiles, sentences = [], []
    for task, about in record.tables["tasks"].items():
        shown, said = head_by_type(about["type"]).findings(record, task)
        tiles += shown
        sentences += said
    sentences += contamination.sentences(record)
    return [tag("div", tiles, cls="figures"), listing(sentences)] if tiles else []


def predicting(record: Record, task: str) -> tuple[list[Markup], list[str]]:
    """Who predicts best, at what cost, and where training overtakes counting."""
    models = [model for model in likelihood.ranked(record, task) if model not in FLOORS]
    tiles = tile(record, task, models, "bits_per_byte", say("bits per byte on held-out text"))
    about = record.tables["tasks"][task]
    said: list[str] = []
    if not models:
        return tiles, said
    best = models[0]
    row = record.figure(best, task, "bits_per_byte") or {}
    value, took = figure(row.get("value"), "bits_per_byte"), duration(record.seconds(best))
    said.append(say("Of {count} models {best} predicts the held-out text best: {value} bits per byte, built in {time}.",
                    count=len(models), best=best, value=value, time=took))  # fmt: skip
    if len(models) > 1 and models[1] in about["behind"]:
        second = models[1]
        line = likelihood.difference_line(second, best, about["behind"][second], "bits_per_byte")
        said.append(say("Next: {line}, built in {time}.", line=line, time=duration(record.seconds(second))))
    curves, marks = likelihood.learned(record, task)
    if curves and marks:
        level = min(marks, key=lambda mark: mark.value)
        value = figure(level.value, "bits_per_byte")
        for curve in curves:
            moment = likelihood.crossing(curve, level.value)
            names = {"curve": curve.name, "level": level.name, "value": value}
            if moment is None:
                said.append(say("{curve} did not reach {level} ({value}) in {time} of training: at this budget counting is "
                                "ahead.", **names, time=duration(curve.points[-1][0])))  # fmt: skip
            else:
                said.append(say("{curve} overtook {level} ({value}) after {time} of training.", **names, time=duration(moment)))
    return tiles, said


def judging(record: Record, task: str) -> tuple[list[Markup], list[str]]:
    return tile(record, task, pairs.ranked(record, task), "accuracy", say("of minimal pairs judged right")), []


def labelling(record: Record, task: str) -> tuple[list[Markup], list[str]]:
    models = [model for model in labels.ranked(record, task) if model not in FLOORS]
    tiles = tile(record, task, models, "macro_f1", say("macro-F1 on test texts"))
    about = record.tables["tasks"][task]
    best = models[0]
    row = record.figure(best, task, "macro_f1") or {}
    floor = record.figure("majority", task, "macro_f1") or {}
    said = [say("{task}: {best} labels {count} test texts with a macro-F1 of {value}; always saying the most frequent label "
                "gives {floor}.", task=task, best=best, count=count(about["n"]), value=figure(row.get("value"), "macro_f1"),
                floor=figure(floor.get("value"), "macro_f1"))]  # fmt: skip
    kinds = {model: facts.get("model_type") for model, facts in record.tables["models"].items()}
    compared = [model for model in models[1:] if kinds.get(model) != "yanmo_majority"][:2]  # the floor said that already
    others = [likelihood.difference_line(model, best, about["behind"][model], "macro_f1") for model in compared]
    if others:
        said.append(say("{task}, behind it: {lines}.", task=task, lines="; ".join(others)))
    return tiles, said
