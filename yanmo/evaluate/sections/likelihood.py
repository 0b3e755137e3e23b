"""How well each model predicts held-out text: the table, its intervals as whiskers, and the curves that led there."""

from __future__ import annotations

from yanmo.evaluate import figures
from yanmo.evaluate.figures import Curve, Mark
from yanmo.evaluate.floors import FLOORS
from yanmo.evaluate.numbers import bounds, compact, count, duration, figure, group_name, metric_name, say, size
from yanmo.evaluate.page import Markup, join, table, tag
from yanmo.evaluate.record import Record, bits

METRIC, PSEUDO = "bits_per_byte", "pseudo_bits_per_byte"


def section(record: Record, task: str) -> Markup | None:
    rows = ranked(record, task)
    if not rows:
        return None
    about = record.tables["tasks"][task]
    total = max((m.get("bytes", 0) for m in about["models"].values()), default=0)
    intro = say("Bits per byte: how many bits a model needs for each byte of text that it has not seen; fewer is better, 8 is no "
                "knowledge at all. It compares models with different tokenizers, since the bytes are the same for all. Each of "
                "the {count} documents ({size}) is read from its beginning, and every byte is counted once.",
                count=count(about["n"]), size=size(total))  # fmt: skip
    return join([tag("p", intro), _table(record, task, rows), _note(record, task), _masked(record, task), curves(record, task)])


def ranked(record: Record, task: str) -> list[str]:
    """The models and the floor, best first."""
    rows = [r for r in record.results if r["task"] == task and r["metric"] == METRIC and not r.get("group")]
    return [r["model"] for r in sorted(rows, key=lambda r: (r["value"] is None, r["value"]))]


def _table(record: Record, task: str, models: list[str]) -> Markup:
    groups = record.groups(task)
    wide = [g for g in groups if g.startswith("language=")] or groups[:4]
    head = [say("model"), say("bits per byte"), "", *[group_name(g) for g in wide], say("perplexity"), say("build"),
            say("parameters"), say("on disk")]  # fmt: skip
    whole = [record.figure(model, task, METRIC) or {} for model in models if model not in FLOORS]
    scale = scale_of([value for row in whole for value in (row["low"], row["high"], row["value"]) if value is not None])
    rows = []
    for model in models:
        row = record.figure(model, task, METRIC)
        assert row is not None
        facts = record.tables["models"].get(model, {})
        cells = [figure((record.figure(model, task, METRIC, g) or {}).get("value"), METRIC) for g in wide]
        perplexity = (record.figure(model, task, "perplexity") or {}).get("value")
        value = [tag("span", figure(row["value"], METRIC), cls="best" if model == models[0] else None),
                 tag("span", bounds(row), cls="interval")]  # fmt: skip
        rows.append([model, value, None if model in FLOORS else whisker(row, scale), *cells, figure(perplexity, "perplexity"),
                     duration(record.seconds(model)) if model not in FLOORS else "–",
                     compact(facts.get("parameters")), size(facts.get("bytes"))])  # fmt: skip
    floors = [index for index, model in enumerate(models) if model in FLOORS]
    main = table(head, rows, numbers=[*range(3, len(head))], marked=floors)
    sources = [g for g in groups if g.startswith("source=")]
    if not sources or len(groups) == len(wide):
        return main
    by_source = [[model, *[figure((record.figure(model, task, METRIC, g) or {}).get("value"), METRIC) for g in sources]]
                 for model in models if model not in FLOORS]  # fmt: skip
    caption = say("Bits per byte by source")
    second = table([say("model"), *map(group_name, sources)], by_source, numbers=range(1, len(sources) + 1), caption=caption)
    return join([main, second])


def _masked(record: Record, task: str) -> Markup | None:
    """Models that read from both sides, in a table of their own."""
    rows = [r for r in record.results if r["task"] == task and r["metric"] == PSEUDO and not r.get("group")]
    if not rows:
        return None
    groups = record.groups(task)
    wide = [g for g in groups if g.startswith("language=")] or groups[:4]
    about = record.tables["tasks"][task]["models"]
    lines = []
    for row in sorted(rows, key=lambda r: (r["value"] is None, r["value"])):
        cells = [figure((record.figure(row["model"], task, PSEUDO, g) or {}).get("value"), PSEUDO) for g in wide]
        value = [figure(row["value"], PSEUDO), tag("span", bounds(row), cls="interval")]
        every = about.get(row["model"], {}).get("every", 1)
        lines.append([row["model"], value, *cells, count(every), duration(record.seconds(row["model"]))])
    intro = say("Masked models predict each token from both sides. What follows is their pseudo-likelihood in bits a byte: "
                "it is no probability of the text, compares masked models with each other, and is not to be held against the "
                "table above.")  # fmt: skip
    head = [say("model"), metric_name(PSEUDO), *[group_name(g) for g in wide], say("one token scored of"), say("build")]
    return join([tag("h3", say("Masked models")), tag("p", intro), table(head, lines, numbers=range(1, len(head)))])


def _note(record: Record, task: str) -> Markup:
    seeds = say("Intervals are 95% bootstrap intervals over the documents: what other documents of the same kind would show, "
                "not other seeds. Perplexity is per token of each model's own tokenizer and does not compare across tokenizers. "
                "Build is the wall clock of the model's stage on this machine. A model that counts has no weights.")  # fmt: skip
    about = record.tables["tasks"][task]
    lines = difference_lines(about, METRIC)
    behind = [model for model, entry in about["models"].items() if entry.get("by") == "likelihood behind a gap"]
    asked = say("{models}: encoder and decoder, asked for the text behind a single gap. That is a probability of the text, but "
                "far from what they were trained for: fragments of texts that they read.", models=", ".join(behind))  # fmt: skip
    orders = [model for model in about["models"] if record.tables["models"].get(model, {}).get("kind") == "permuted"]
    order = say("{models}: trained to predict in any order, asked from left to right.", models=", ".join(orders))
    return join([tag("p", seeds, cls="note"), tag("p", asked, cls="note") if behind else None,
                 tag("p", order, cls="note") if orders else None,
                 tag("p", say("Differences on the same documents, which are much surer than the figures themselves:"), " ",
                     "; ".join(lines), ".", cls="note") if lines else None])  # fmt: skip


def difference_lines(about: dict, metric: str) -> list[str]:
    """One phrase a model, the closest to the best first."""
    behind = sorted(about["behind"].items(), key=lambda item: (item[1]["value"] is None, abs(item[1]["value"] or 0)))
    return [difference_line(model, about["best"], row, metric) for model, row in behind]


def difference_line(model: str, best: str, row: dict, metric: str) -> str:
    """'lstm 0.113 [0.101, 0.125] behind ngram-5', and that it may be none where the interval holds 0."""
    row = {**row, "metric": metric}
    value = abs(row["value"]) if row["value"] is not None else None
    ends = sorted(abs(row[end]) for end in ("low", "high")) if row["low"] is not None else None
    crosses = row["low"] is not None and row["low"] <= 0 <= row["high"]
    if crosses:
        return say("{model} not clearly behind {best} ({value})", model=model, best=best, value=figure(value, metric))
    shown = f" [{figure(ends[0], metric)}, {figure(ends[1], metric)}]" if ends else ""
    return say("{model} {value} behind {best}", model=model, value=figure(value, metric) + shown, best=best)


# ---------------------------------------------------------------------------------------------- curves


def learned(record: Record, task: str) -> tuple[list[Curve], list[Mark]]:
    """The trained models' curves, and every model that was not trained step by step as a mark at its build time.

    While a model trains it is validated on a sample of the held-out documents. Its curve is scaled so that the weights
    that were kept (the best validated) stand where the evaluation on all documents found them: else curves and the
    lines of counted models would be figures on different texts.
    """
    found, marks = [], []
    models = [m for m in ranked(record, task) if m not in FLOORS]
    stages = {record.tables["models"][model]["stage"]: model for model in models}
    for training in record.trainings:
        name = stages.get(training.name)
        points = [(v["seconds"], v["step"], v[METRIC]) for v in training.validations if v.get(METRIC) is not None]
        whole = (record.figure(name, task, METRIC) or {}).get("value") if name else None
        if name is None or len(points) < 2 or whole is None:
            continue
        scale = whole / min(value for *_, value in points)
        ratio = record.bytes_per_token(training.name)
        losses = [(s["seconds"], s["step"], bits(s["loss"], ratio)) for s in training.steps] if ratio else []
        found.append(Curve(name, [(s, step, value * scale) for s, step, value in points], losses))
    trained = {training.name for training in record.trainings if training.steps}  # without a curve: no validation in bits
    for model in models:
        row, seconds = record.figure(model, task, METRIC), record.seconds(model)
        if record.tables["models"][model]["stage"] not in trained and row and row["value"] is not None and seconds:
            marks.append(Mark(model, seconds, row["value"], row["low"], row["high"]))
    return found, marks


def curves(record: Record, task: str) -> Markup | None:
    found, marks = learned(record, task)
    if not found:
        return None
    label = say("Held-out bits per byte of each trained model against time and steps, with the counted models as lines")
    caption = say("Held-out bits per byte while training (dots; the pale line is the loss on the training batches), against "
                  "time on the left and steps on the right. Dashed: models that only count, from the moment they are ready. "
                  "Where a curve falls below a dashed line, training has overtaken counting. While training, a sample of the "
                  "held-out documents is read; each curve is scaled to end at its figure on all of them.")  # fmt: skip
    svg = figures.inline(lambda: figures.learning_curves(found, marks), label)
    return tag("figure", svg, tag("figcaption", caption))


def crossing(curve: Curve, level: float) -> float | None:
    """The second at which the curve first lies below the level, interpolated; None where it never does."""
    before: tuple[float, float] | None = None
    for seconds, _, value in curve.points:
        if value < level:
            if before is None or before[1] == value:
                return seconds
            return before[0] + (seconds - before[0]) * (before[1] - level) / (before[1] - value)
        before = (seconds, value)
    return None


# ---------------------------------------------------------------------------------------------- whiskers


def scale_of(values: list[float]) -> tuple[float, float]:
    low, high = (min(values), max(values)) if values else (0.0, 1.0)
    return (low, high) if high > low else (low - 0.5, high + 0.5)


def whisker(row: dict, scale: tuple[float, float]) -> Markup | None:
    """The interval as a line with a dot, on one scale for the whole table."""
    if row.get("value") is None:
        return None

    def x(value: float) -> float:
        return round(5 + 134 * (value - scale[0]) / (scale[1] - scale[0]), 1)

    line = None
    if row.get("low") is not None:
        line = tag("line", x1=x(row["low"]), x2=x(row["high"]), y1=8, y2=8, stroke="var(--soft)", stroke_width=1.3)
    dot = tag("circle", cx=x(row["value"]), cy=8, r=2.7, fill="var(--ink)")
    return tag("svg", line, dot, cls="whisker", viewBox="0 0 144 16", aria_hidden="true")
