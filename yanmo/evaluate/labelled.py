"""Figures on labels, of answers with the true label and the given one: what heads that choose among labels share."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import partial

import numpy as np

from yanmo.evaluate.measure import CELLS, Answer, Figure, accuracy
from yanmo.text.metrics import auroc, calibration, f1, margins
from yanmo.text.metrics.margins import Margins

DRAWS = 1000  # of labels at random, for the floor
OF_MARGINS = {"macro_f1": margins.macro_f1, "micro_f1": margins.micro_f1, "macro_precision": margins.macro_precision,
              "macro_recall": margins.macro_recall, "mcc": margins.mcc}  # fmt: skip


def labels_in(lines: Iterable[Answer]) -> list[str]:
    """Every label in answers, as truth or as prediction, sorted."""
    return sorted({line[key] for line in lines for key in ("label", "predicted") if line[key]})


def figures(lines: Sequence[Answer], names: Sequence[str]) -> dict[str, Figure]:
    """accuracy; macro and micro F1, macro precision and recall, Matthews' coefficient; of answers with probabilities also the
    area under the ROC curve and the calibration error.

    Lines: label, predicted (null: no decision, which is wrong), score (of the predicted label), scores (label → probability)."""
    columns = numbers(lines, names)
    statistic = partial(margins.margins, labels=len(names))
    step = max(1, CELLS // (len(names) + 1))

    def counted(true: np.ndarray, given: np.ndarray) -> Margins:
        parts = [statistic(true[at : at + step], given[at : at + step]) for at in range(0, len(true), step)]
        return Margins(*map(np.concatenate, zip(*parts)))

    found = {"accuracy": accuracy(lines)}
    found |= {name: Figure(metric, columns, counted) for name, metric in OF_MARGINS.items()}
    return found | ranked(lines, names, columns[0]) | calibrated(lines)


def ranked(lines: Sequence[Answer], names: Sequence[str], truth: np.ndarray) -> dict[str, Figure]:
    """auroc: of two labels the area of the second (which is that of the first), of more the mean of each against the rest.
    Without probabilities, none."""
    if not any(line.get("scores") for line in lines):
        return {}
    chosen = [1] if len(names) == 2 else list(range(len(names)))
    true = np.stack([truth == label for label in chosen], -1)
    scores = [[_score(line, names[label]) for label in chosen] for line in lines]
    places = np.stack([auroc.ranks([row[index] for row in scores], true[:, index]) for index in range(len(chosen))], -1)
    return {"auroc": Figure(auroc.macro_area, (true, places), weight=2 * len(chosen))}


def _score(line: Answer, label: str) -> float:
    value = (line.get("scores") or {}).get(label)
    return float("nan") if value is None else value


def calibrated(lines: Sequence[Answer]) -> dict[str, Figure]:
    """ece: the expected calibration error of the answers that have a probability; where none has, none."""
    sure = np.array([float("nan") if line.get("score") is None else line["score"] for line in lines])
    if np.isnan(sure).all():
        return {}
    right = np.array([line["label"] == line["predicted"] for line in lines])
    return {"ece": Figure(calibration.resampled, (calibration.bins_of(sure), np.nan_to_num(sure), right), weight=3)}


def numbers(lines: Sequence[Answer], names: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
    """True and predicted labels as numbers (N,); no decision is one more than the last."""
    classes = [*names, ""]
    return (f1.numbers([line["label"] for line in lines], classes),
            f1.numbers([line["predicted"] or "" for line in lines], classes))  # fmt: skip


def drawn(true: np.ndarray, labels: int) -> dict[str, np.ndarray]:
    """The figures (DRAWS,) of labels drawn at random with equal probability for items of the labels `true` (N,)."""
    rng = np.random.default_rng(0)
    step = max(1, CELLS // max(len(true), 1))
    found: dict[str, list[np.ndarray]] = {}
    for start in range(0, DRAWS, step):
        rows = np.broadcast_to(true, (min(step, DRAWS - start), len(true)))
        given = rng.integers(0, labels, rows.shape)
        found.setdefault("accuracy", []).append((rows == given).mean(-1))
        counts = margins.margins(rows, given, labels)
        for name, metric in OF_MARGINS.items():
            found.setdefault(name, []).append(metric(counts))
    return {name: np.concatenate(values) for name, values in found.items()}
