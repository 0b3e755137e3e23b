"""Fits yanmo/train/records/bands.json to the logs of real runs: `python tools/loss_bands.py RUNS… [--out FILE]`.

RUNS are folders below which runs lie (each stage with plan.json and metrics.jsonl, the run with recipe.yaml and tokens/). Only
language models that predict the next token and were made from nothing are taken; copies of one run count once.

Of each run up to POINTS points are taken, evenly spread over the logarithm of its steps: the mean of 20 training losses in
units of ln V. They are fitted by least squares (a little ridge; every run weighs the same). Then each run in turn is left out,
and the 95% quantile of the errors on the runs left out is the band's half width. What that is worth is told by doing it once
more for runs that had no part in either: fitted without run r, the half width from the others' errors when left out in turn,
counted over r's points.
"""

from __future__ import annotations

import argparse
import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from yanmo.core import files
from yanmo.train.records.bands import FILE, MEAN, features, kind_of
from yanmo.train.records.metrics import read

POINTS = 24
LEVEL = 0.95
RIDGE = 1e-3
LEAST = 8  # runs of a kind


@dataclass(frozen=True)
class Curve:
    """One run: rows of features and ln(loss / ln V)."""

    name: str
    kind: str
    x: np.ndarray
    y: np.ndarray
    sizes: dict[str, tuple[float, float]]


def curve(folder: Path) -> Curve | None:
    """The curve of a stage's folder; None where it is not such a training."""
    run, plan = folder.parent, folder / "plan.json"
    if not plan.is_file() or not (run / "recipe.yaml").is_file():
        return None
    decided = json.loads(plan.read_text(encoding="utf-8"))
    recipe = yaml.safe_load((run / "recipe.yaml").read_text(encoding="utf-8"))
    settings = next((item[kind] or {} for item in recipe["stages"] for kind in item
                     if kind == "pretrain" and item.get("name", kind) == folder.name), None)  # fmt: skip
    if settings is None or (settings.get("objective") or {}).get("type", "causal") != "causal" or "parameters" not in decided:
        return None
    if not isinstance(settings.get("model"), dict) or not decided["parameters"]:
        return None  # goes on from another model
    told = next((folder / name for name in ("manifest.json", "begun.json") if (folder / name).is_file()), None)
    inputs = json.loads(told.read_text(encoding="utf-8")).get("inputs", []) if told else []
    links = {link["role"]: link["from"] for link in inputs}
    shards = f"{links['corpus']}-{links['tokenizer']}" if {"corpus", "tokenizer"} <= links.keys() else "*"
    vocabularies = {json.loads(p.read_text(encoding="utf-8"))["size"] for p in run.glob(f"tokens/{shards}/tokens.json")}
    if len(vocabularies) != 1:
        return None
    (vocabulary,) = vocabularies
    steps = [line for line in read(folder / "metrics.jsonl") if "loss" in line and "validation" not in line]
    if len(steps) < 2 * MEAN:
        return None
    losses, tokens = np.array([s["loss"] for s in steps]), np.array([s["tokens"] for s in steps], dtype=float)
    batch = float(np.median(np.diff(tokens)))
    ends = np.unique(np.geomspace(MEAN, len(steps), POINTS).astype(int))
    means = np.array([losses[end - MEAN : end].mean() for end in ends]) / math.log(vocabulary)
    seen = np.array([tokens[end - 1] - MEAN * batch / 2 for end in ends])
    x = np.array([features(t, decided["parameters"], batch) for t in seen])
    sizes = {"tokens": (float(seen.min()), float(seen.max())), "parameters": (decided["parameters"],) * 2, "batch": (batch,) * 2,
             "vocabulary": (vocabulary,) * 2}  # fmt: skip
    return Curve(f"{run.name}/{folder.name}", kind_of(decided["model"]), x, np.log(means), sizes)


def fit(curves: list[Curve]) -> np.ndarray:
    """Coefficients (F,) by ridge regression, every run weighing the same; the constant is not held back."""
    x, y = np.concatenate([c.x for c in curves]), np.concatenate([c.y for c in curves])
    weight = np.concatenate([np.full(len(c.y), 1 / len(c.y)) for c in curves])
    mean, spread = np.average(x, 0, weight), np.maximum(x.std(0), 1e-9)
    mean[0], spread[0] = 0.0, 1.0
    scaled = (x - mean) / spread
    penalty = RIDGE * np.eye(x.shape[1]) * weight.sum()
    penalty[0, 0] = 0.0
    found = np.linalg.solve(scaled.T @ (weight[:, None] * scaled) + penalty, scaled.T @ (weight * y))
    coefficients = found / spread
    coefficients[0] -= float((found[1:] * mean[1:] / spread[1:]).sum())
    return coefficients


def left_out(curves: list[Curve]) -> list[np.ndarray]:
    """The errors on each run of a fit to the others."""
    return [c.y - c.x @ fit([other for other in curves if other is not c]) for c in curves]


def halfwidth(errors: list[np.ndarray]) -> float:
    """The quantile of the errors' size, every run weighing the same."""
    sizes = np.concatenate([np.abs(e) for e in errors])
    weight = np.concatenate([np.full(len(e), 1 / len(e)) for e in errors])
    order = np.argsort(sizes)
    return float(sizes[order][np.searchsorted(np.cumsum(weight[order]), LEVEL * weight.sum())])


def band(curves: list[Curve]) -> dict[str, Any]:
    """One kind's entry of bands.json."""
    inside = []
    for c in curves:
        others = [other for other in curves if other is not c]
        inside.append(np.abs(c.y - c.x @ fit(others)) <= halfwidth(left_out(others)))
    width = halfwidth(left_out(curves))
    ranges = {name: [min(c.sizes[name][0] for c in curves), max(c.sizes[name][1] for c in curves)] for name in curves[0].sizes}
    return {"runs": len(curves), "points": sum(len(c.y) for c in curves),
            "coefficients": [round(float(v), 9) for v in fit(curves)], "halfwidth": round(width, 4), "level": LEVEL,
            "coverage": {"points_of_runs_left_out": round(float(np.mean([i.mean() for i in inside])), 3),
                         "runs_left_out": round(float(np.mean([i.mean() >= 0.9 for i in inside])), 3)},
            "ranges": ranges}  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("runs", nargs="+", type=Path)
    parser.add_argument("--out", type=Path, default=FILE)
    given = parser.parse_args()
    found: dict[bytes, Curve] = {}
    for top in given.runs:
        for path in sorted(top.rglob("metrics.jsonl")):
            made = curve(path.parent)
            if made is not None:
                found.setdefault(made.y.tobytes(), made)
    kinds: dict[str, list[Curve]] = {}
    for made in found.values():
        kinds.setdefault(made.kind, []).append(made)
    entries = {kind: band(curves) for kind, curves in sorted(kinds.items()) if len(curves) >= LEAST}
    for kind, curves in sorted(kinds.items()):
        errors = left_out(curves) if len(curves) > 1 else [np.zeros(1)]
        print(f"{kind}: {len(curves)} runs" + ("" if kind in entries else f", fewer than {LEAST}: no band"))
        for c, e in zip(curves, errors):
            print(f"  {c.name:<40} {len(c.y):3} points, error {float(np.mean(e)):+.3f}, at most {float(np.abs(e).max()):.3f}")
        if kind in entries:
            print(f"  ± {entries[kind]['halfwidth']:.3f}, coverage {entries[kind]['coverage']}")
    files.write_json(given.out, {"unit": "ln V", "mean_of_steps": MEAN, "kinds": entries})


if __name__ == "__main__":
    main()
