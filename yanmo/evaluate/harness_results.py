"""What lm-evaluation-harness found, as lines of our results: a line a metric, with the interval of its items, the floor beside.

    {"model": "gpt", "task": "english", "metric": "acc", "value": 0.5, "low": 0.31, "high": 0.69, "n": 16, "signature": …}

Metrics keep the harness's names, because those are what published figures are called; of one behind a filter that is another
than 'none' the filter's name follows (`exact_match@strict`). `signature` says whose figure it is and of which version.
"""

from __future__ import annotations

import math
import os
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from yanmo.core.errors import RequestError
from yanmo.core.extras import installed
from yanmo.core.messages import text
from yanmo.evaluate.measure import Figure, result, scored

CHOICES = {"acc", "acc_norm", "acc_bytes"}  # metrics whose floor is one in so many choices
OFFLINE = ("HF_HUB_OFFLINE", "HF_DATASETS_OFFLINE", "HF_EVALUATE_OFFLINE")


def evaluate_by_harness(model: str, tasks: Sequence[str], include: str | Path, name: str | None = None, limit: int | None = None,
                        shots: int | None = None) -> list[dict[str, Any]]:  # fmt: skip
    """The results of a model (a path, or a server's address) on tasks of the folder `include`; nothing is fetched."""
    installed("lm_eval", "harness", "yanmo evaluate --harness")
    if not any(Path(include).rglob("*.y*ml")):
        raise RequestError(str(include), text("a folder of tasks as YAML files"), text("none"))
    with local():
        from yanmo.evaluate.harness import run

        found = run(model, tasks, include=include, name=name, limit=limit, shots=shots)
    return rows(name or _name(model), found)


def rows(model: str, found: dict[str, Any]) -> list[dict[str, Any]]:
    """The lines of what `harness.run` gives: each task's metrics, then its floor."""
    made = []
    signature = f"lm-evaluation-harness|{version('lm_eval')}"
    for task, figures in found["results"].items():
        samples = found["samples"].get(task, [])
        for key, value in figures.items():
            metric, _, kind = key.partition(",")
            if kind and not metric.endswith("_stderr") and isinstance(value, int | float):
                own = [sample for sample in samples if sample.get("filter", "none") == kind]
                named = metric if kind == "none" else f"{metric}@{kind}"
                made.append(_row(model, task, named, metric, float(value), own) | {"signature": signature})
        chance = _chance(samples)
        if chance is not None:
            made.append(result("chance", task, "acc", chance, None, len(samples)))
    return made


def _row(model: str, task: str, named: str, metric: str, value: float, samples: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """With a bootstrap interval where the metric is the mean of the items' values; others (a perplexity, BLEU) have none here."""
    items = [sample.get(metric) for sample in samples]
    bounds = None
    if items and all(isinstance(item, bool | int | float | np.number) for item in items):
        values = np.array(items, dtype=np.float64)
        if math.isclose(values.mean(), value, rel_tol=1e-9, abs_tol=1e-12):
            bounds = scored({metric: Figure(lambda drawn: drawn.mean(-1), (values,))})[metric][1]
    return result(model, task, named, value, bounds, len(samples))


def _chance(samples: Sequence[dict[str, Any]]) -> float | None:
    """What guessing among the choices scores; None where there are none to choose among."""
    counts = [len(sample["arguments"]) for sample in samples]
    if not samples or min(counts) < 2 or "acc_mutual_info" in samples[0]["metrics"] or not CHOICES & set(samples[0]["metrics"]):
        return None
    return float(np.mean([1 / count for count in counts]))


@contextmanager
def local() -> Iterator[None]:
    """While it lasts, the libraries below the harness ask nothing of the network and leave nothing on this machine."""
    with tempfile.TemporaryDirectory() as folder:
        values = {**dict.fromkeys(OFFLINE, "1"), "HF_DATASETS_CACHE": folder, "HF_DATASETS_DISABLE_PROGRESS_BARS": "1"}
        before = {key: os.environ.get(key) for key in values}
        os.environ.update({key: value for key, value in values.items() if before[key] is None})
        try:
            yield
        finally:
            for key, value in before.items():
                if value is None:
                    os.environ.pop(key, None)


def _name(model: str) -> str:
    """A path's model as other results call it; a server by its address."""
    from yanmo.evaluate.subjects import subjects
    from yanmo.models.store import resolve

    if model.startswith(("http://", "https://")):
        return model.rstrip("/")
    return subjects([resolve(model, lambda config: not config.get("id2label"))])[0].name
