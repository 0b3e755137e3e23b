"""What goes wrong with rewards although every number is finite: seen in a training's own figures, said in one line each.

    constant     every answer of the training so far was worth the same: nothing can be learned
    collapsed    all answers to a prompt are worth the same by now, and less than they were
    length       answers grow until they are cut off
    hacked       the reward rises while held-out answers are verified to get worse

Every flag follows from the lines of metrics.jsonl, so that a run that goes on after a kill sees what it had seen.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from statistics import fmean, stdev
from typing import Any

from yanmo.core.messages import Text, text

WINDOW = 8  # steps at the beginning and at the end that are compared
LONGER, FULL = 1.5, 0.5  # times the first answers, and the share that is cut off
FAR = 2.0  # standard errors


@dataclass(frozen=True)
class Flag:
    name: str
    step: int
    line: Text


def flags(lines: list[dict[str, Any]], before: dict[str, float], deviation: float = 0.0) -> list[Flag]:
    """What a training's lines show. `before`: the figures of held-out answers before it; `deviation`: the standard error of a
    difference of two such figures."""
    steps = [line for line in lines if "reward" in line]
    if not steps:
        return []
    found = []
    last = steps[-1]["step"]
    first, recent = steps[:WINDOW], steps[-WINDOW:]
    enough = len(steps) >= 2 * WINDOW
    rewards = [line["reward"] for line in steps]
    flat = all(line["flat"] == 1 for line in steps)
    if len(steps) >= WINDOW and flat and max(rewards) == min(rewards):
        found.append(Flag("constant", last, text("every answer was worth {reward}: nothing can be learned from this reward",
                                                 reward=f"{rewards[0]:g}")))  # fmt: skip
    elif enough and all(line["flat"] > 0.99 for line in recent) and _mean(recent, "reward") < _best(steps) - _noise(first):
        found.append(Flag("collapsed", last, text(
            "all answers to a prompt are worth the same, {reward} on average, after {best}: nothing is learned any more",
            reward=f"{_mean(recent, 'reward'):.3g}", best=f"{_best(steps):.3g}")))  # fmt: skip
    if enough and _mean(recent, "length") > LONGER * _mean(first, "length") and _mean(recent, "cut") > max(
        FULL, 2 * _mean(first, "cut")
    ):
        found.append(Flag("length", last, text(
            "answers have grown from {before} to {now} tokens, and {cut} of them are cut off", cut=f"{_mean(recent, 'cut'):.0%}",
            before=f"{_mean(first, 'length'):.0f}", now=f"{_mean(recent, 'length'):.0f}")))  # fmt: skip
    verified = [line["validation"]["verified"] for line in lines if "verified" in line.get("validation", {})]
    if verified and "verified" in before:
        half = len(steps) // 2
        early, late = steps[: max(half, 1)][:WINDOW], recent
        risen = _mean(late, "reward") - _mean(early, "reward") > FAR * _noise(early)
        fallen = before["verified"] - verified[-1] > max(FAR * deviation, 1e-9)
        if risen and fallen and len(steps) > 1:
            found.append(Flag("hacked", last, text(
                "the reward has risen from {early} to {late}, and held-out answers are verified to be worse: {now} after "
                "{before}",
                early=f"{_mean(early, 'reward'):.3g}", late=f"{_mean(late, 'reward'):.3g}", now=f"{verified[-1]:.3g}",
                before=f"{before['verified']:.3g}")))  # fmt: skip
    return found


def _mean(lines: list[dict[str, Any]], name: str) -> float:
    return fmean(line[name] for line in lines)


def _best(lines: list[dict[str, Any]]) -> float:
    """The highest mean reward of a window."""
    return max(_mean(lines[start : start + WINDOW], "reward") for start in range(max(1, len(lines) - WINDOW + 1)))


def _noise(lines: list[dict[str, Any]]) -> float:
    """The standard error of the mean reward of these steps."""
    values = [line["reward"] for line in lines]
    return stdev(values) / math.sqrt(len(values)) if len(values) > 1 else 0.0
