"""What a larger run would reach, from several short ones: a scaling law and its error.

    L(N, D) = E + A / N^α + B / D^β

N: parameters, D: tokens trained on, L: bits per byte on held-out text (or nats a token), at the end of a finished schedule.
Fitted as Hoffmann et al. 2022 (arXiv:2203.15556, section 3.3 and appendix D.3): the Huber loss, δ = 10⁻³, between logarithms,
minimised by L-BFGS from a grid of starts. With few runs at one size or one length some of the five cannot be told: fewer are
fitted then, and which is said.

How far to believe it: the fit is made again without the largest run and has to predict that one, and 200 times with runs
drawn with replacement (and a residual with each) for a 90% interval. Runs are comparable when they read the same text with the
same tokenizer and recipe, and differ in size and length alone; what differs is named.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from yanmo.core import files
from yanmo.core.errors import RequestError
from yanmo.core.messages import text
from yanmo.evaluate.numbers import compact, say

DELTA = 1e-3
DRAWS = 200
LEVEL = 0.90


@dataclass(frozen=True)
class Point:
    """One finished run."""

    name: str
    parameters: float
    tokens: float
    loss: float
    kind: str = ""  # of model, and
    measure: str = "bits_per_byte"  # what the loss is


@dataclass(frozen=True)
class Law:
    """A fitted law: L = floor + a N^-alpha + b D^-beta; a term that could not be told is 0."""

    floor: float
    a: float
    alpha: float
    b: float
    beta: float
    form: str = "both"

    def __call__(self, parameters: float, tokens: float) -> float:
        return self.floor + self.a * parameters**-self.alpha + self.b * tokens**-self.beta

    def best_split(self, flops: float) -> tuple[float, float] | None:
        """(parameters, tokens) of the least loss for `flops` = 6 N D operations (Hoffmann et al., equation 4)."""
        if self.form != "both" or min(self.a, self.b, self.alpha, self.beta) <= 0:
            return None
        ratio = (self.alpha * self.a / (self.beta * self.b)) ** (1 / (self.alpha + self.beta))
        parameters = ratio * (flops / 6) ** (self.beta / (self.alpha + self.beta))
        return parameters, flops / 6 / parameters


# --------------------------------------------------------------------------------------------------------------- fitting


def form_of(points: Sequence[Point]) -> str:
    """Which terms these runs can tell; RequestError where they can tell none."""
    sizes, lengths = ({getattr(p, name) for p in points} for name in ("parameters", "tokens"))
    if len(points) >= 5 and len(sizes) >= 2 and len(lengths) >= 3:
        return "both"
    if len(points) >= 4 and len(lengths) == 1 and len(sizes) >= 3:
        return "parameters"
    if len(points) >= 4 and len(sizes) == 1 and len(lengths) >= 3:
        return "tokens"
    raise RequestError("yanmo scaling", text("5 finished runs of 2 sizes and 3 lengths, or 4 of one size and 3 lengths or of one "
                                             "length and 3 sizes"),
                       text("{runs} runs, {sizes} sizes, {lengths} lengths", runs=len(points), sizes=len(sizes),
                            lengths=len(lengths)))  # fmt: skip


def fit(points: Sequence[Point], form: str | None = None, start: Law | None = None) -> Law:
    """The law of least Huber loss between logarithms; `start` instead of the grid of starts."""
    form = form or form_of(points)
    sizes, tokens, losses = (np.log([getattr(p, name) for p in points]) for name in ("parameters", "tokens", "loss"))
    centre = {"a": float(sizes.mean()), "b": float(tokens.mean())}  # far starts are better told at the runs' own scale
    lowest = float(losses.min())
    starts = [_free(start, form, centre)] if start else [
        np.array([lowest + down, *(value for _ in range(len(form_terms(form))) for value in (lowest + share, slope))])
        for down in (-1.5, -0.4, -0.05) for share in (-2.0, -0.7) for slope in (0.2, 0.5, 1.0)
    ]  # fmt: skip
    from scipy.optimize import minimize

    def objective(x: np.ndarray) -> tuple[float, np.ndarray]:
        return _huber(x, form, sizes - centre["a"], tokens - centre["b"], losses)

    bounds = [(lowest - 12, lowest)] + [(lowest - 12, 20.0), (0.0, 3.0)] * len(form_terms(form))
    low, high = np.array(bounds).T
    options = {"maxiter": 500, "ftol": 1e-14, "gtol": 1e-10}
    found = min((minimize(objective, np.clip(x, low, high), jac=True, method="L-BFGS-B", bounds=bounds, options=options)
                 for x in starts), key=lambda result: float(result.fun))  # fmt: skip
    return _law(found.x, form, centre)


def form_terms(form: str) -> list[str]:
    return ["a", "b"] if form == "both" else ["a" if form == "parameters" else "b"]


def _free(law: Law, form: str, centre: dict[str, float]) -> np.ndarray:
    values = [math.log(max(law.floor, 1e-12))]
    for term in form_terms(form):
        factor, power = (law.a, law.alpha) if term == "a" else (law.b, law.beta)
        values += [math.log(max(factor, 1e-300)) - power * centre[term], power]
    return np.array(values)


def _law(x: np.ndarray, form: str, centre: dict[str, float]) -> Law:
    found = {"a": (0.0, 0.0), "b": (0.0, 0.0)}
    for index, term in enumerate(form_terms(form)):
        share, slope = float(x[1 + 2 * index]), float(x[2 + 2 * index])
        found[term] = (math.exp(share + slope * centre[term]), slope)
    return Law(math.exp(float(x[0])), *found["a"], *found["b"], form)


def _huber(x: np.ndarray, form: str, sizes: np.ndarray, tokens: np.ndarray, losses: np.ndarray) -> tuple[float, np.ndarray]:
    """Σ Huber(log L̂ - log L) and its gradient; x: log E, then the log of each term in the middle of the runs and its power."""
    parts, slopes = [np.full_like(losses, x[0])], []
    for index, term in enumerate(form_terms(form)):
        along = sizes if term == "a" else tokens
        parts.append(x[1 + 2 * index] - x[2 + 2 * index] * along)
        slopes.append(along)
    stacked = np.stack(parts)
    highest = stacked.max(0)
    shares = np.exp(stacked - highest)
    total = shares.sum(0)
    rest = highest + np.log(total) - losses
    inside = np.abs(rest) <= DELTA
    value = np.where(inside, 0.5 * rest**2, DELTA * (np.abs(rest) - 0.5 * DELTA)).sum() / DELTA
    pull = np.where(inside, rest, DELTA * np.sign(rest)) / DELTA
    weights = shares / total
    gradient = [float((pull * weights[0]).sum())]
    for index, along in enumerate(slopes):
        gradient += [float((pull * weights[1 + index]).sum()), float((-pull * weights[1 + index] * along).sum())]
    return float(value), np.array(gradient)


# ------------------------------------------------------------------------------------------------------- how far to believe


def predict(points: Sequence[Point], parameters: float, tokens: float, law: Law | None = None) -> dict[str, float]:
    """{"value", "low", "high"} of the loss of such a run, with a 90% interval (LEVEL)."""
    law = law or fit(points)
    rest = np.array([math.log(p.loss / law(p.parameters, p.tokens)) for p in points])
    rest *= math.sqrt(len(points) / max(1, len(points) - 1 - 2 * len(form_terms(law.form))))  # fitted figures lie too near
    rng = np.random.default_rng(0)
    found = []
    for _ in range(DRAWS):
        noise = rng.choice(rest, len(points))
        drawn = [Point(p.name, p.parameters, p.tokens, law(p.parameters, p.tokens) * math.exp(r)) for p, r in zip(points, noise)]
        again = fit(drawn, law.form, law)
        found.append(again(parameters, tokens) * math.exp(rng.choice(rest)))
    low, high = np.quantile(found, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return {"value": law(parameters, tokens), "low": float(low), "high": float(high)}


def held_out(points: Sequence[Point]) -> dict[str, Any] | None:
    """How well the others predict the largest run (by N·D); None where too few are left to tell the same terms."""
    largest = max(points, key=lambda p: (p.parameters * p.tokens, p.name))
    others = [p for p in points if p is not largest]
    try:
        form = form_of(others)
    except RequestError:
        return None
    found = predict(others, largest.parameters, largest.tokens, fit(others, form))
    return {"run": largest.name, "parameters": largest.parameters, "tokens": largest.tokens, "loss": largest.loss,
            "predicted": found, "error": found["value"] / largest.loss - 1, "form": form}  # fmt: skip


# --------------------------------------------------------------------------------------------------------------- the runs


def points_of(paths: Sequence[str | Path]) -> list[Point]:
    """The finished trainings below these runs (or RUN/STAGE): their sizes, tokens, and last held-out bits per byte.

    A training that was stopped early, or whose last validation is not of its last step, is left out; RequestError where what
    remains is not one kind of model."""
    found = [point for path in paths for point in _points(Path(path))]
    kinds = sorted({point.kind for point in found})
    if len(kinds) > 1:
        raise RequestError("yanmo scaling", text("runs of one kind of model"), ", ".join(kinds), text("name them as RUN/STAGE"))
    return found


def _points(path: Path) -> list[Point]:
    if not path.is_dir():
        raise RequestError(str(path), text("a run, or RUN/STAGE"), text("no such folder"))
    folders = [path] if (path / "training.json").is_file() else sorted(p.parent for p in path.glob("*/training.json"))
    found = []
    for folder in folders:
        done = files.read_json(folder / "training.json")
        last = (done.get("validations") or [{}])[-1]
        if done.get("stopped_early") or last.get("step") != done["steps"] or "bits_per_byte" not in last:
            continue
        plan = files.read_json(folder / "plan.json") if (folder / "plan.json").is_file() else {}
        size = plan.get("parameters") or done.get("parameters")
        if size:
            found.append(Point(f"{folder.parent.name}/{folder.name}", float(size), float(done["tokens"]),
                               float(last["bits_per_byte"]), str(done["model"]["type"])))  # fmt: skip
    return found


def report(points: Sequence[Point], parameters: float | None = None, tokens: float | None = None,
           flops: float | None = None) -> dict[str, Any]:  # fmt: skip
    """Everything that `yanmo scaling` says."""
    law = fit(points)
    made: dict[str, Any] = {
        "runs": [{"run": p.name, "parameters": p.parameters, "tokens": p.tokens, "loss": p.loss,
                  "fitted": law(p.parameters, p.tokens)} for p in points],
        "law": {"E": law.floor, "A": law.a, "alpha": law.alpha, "B": law.b, "beta": law.beta, "terms": law.form},
        "largest_left_out": held_out(points),
    }  # fmt: skip
    if flops is not None:
        split = law.best_split(flops)
        if split is None:
            raise RequestError("--flops", text("runs of several sizes and lengths"), text("one of the two alone"))
        parameters, tokens = split
    if parameters is not None or tokens is not None:
        wanted = (parameters or max(p.parameters for p in points), tokens or max(p.tokens for p in points))
        times = wanted[0] * wanted[1] / max(p.parameters * p.tokens for p in points)
        made["prediction"] = {"parameters": wanted[0], "tokens": wanted[1], **predict(points, *wanted, law),
                              "times_the_largest": times}  # fmt: skip
    return made


def said(report: dict[str, Any]) -> tuple[list[list[str]], list[str]]:
    """The report for people: a table's lines, and sentences."""
    rows = [[say("run"), say("parameters"), say("tokens"), say("bits per byte"), say("fitted")]]
    for run in report["runs"]:
        rows.append([run["run"], compact(run["parameters"]), compact(run["tokens"]), f"{run['loss']:.4f}",
                     f"{run['fitted']:.4f}"])  # fmt: skip
    law = report["law"]
    terms = [f"{law['E']:.3f}"] + [f"{law[big]:.4g} / {name}^{law[power]:.3f}" for big, name, power in
                                   (("A", "N", "alpha"), ("B", "D", "beta")) if law[big]]  # fmt: skip
    notes = [f"L(N, D) = {' + '.join(terms)}"]
    if law["terms"] != "both":
        notes.append(say("These runs tell the influence of {what} alone.", what=say("parameters") if law["terms"] == "parameters"
                         else say("tokens")))  # fmt: skip
    left = report["largest_left_out"]
    if left is None:
        notes.append(say("Too few runs to leave the largest out: how far to believe the prediction is not known."))
    else:
        guess = left["predicted"]
        notes.append(say("Without {run} the others predict {predicted} [{low}, {high}] for it; it reached {loss} ({error}).",
                         run=left["run"], predicted=f"{guess['value']:.4f}", low=f"{guess['low']:.4f}",
                         high=f"{guess['high']:.4f}", loss=f"{left['loss']:.4f}", error=f"{left['error']:+.1%}"))  # fmt: skip
    wanted = report.get("prediction")
    if wanted is not None:
        notes.append(say("{parameters} parameters after {tokens} tokens, {times} times the largest run's operations: {value} "
                         "[{low}, {high}] bits per byte.", parameters=compact(wanted["parameters"]),
                         tokens=compact(wanted["tokens"]), times=f"{wanted['times_the_largest']:.3g}",
                         value=f"{wanted['value']:.4f}", low=f"{wanted['low']:.4f}", high=f"{wanted['high']:.4f}"))  # fmt: skip
    return rows, notes
