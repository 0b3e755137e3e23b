"""Is this loss where it should be? What our own runs had after as many tokens, as a range.

`bands.json` is fitted by `python tools/loss_bands.py` to the metrics.jsonl of real runs and holds, for each kind of model:

    ln(loss / ln V) = c0 + c1 ln(tokens) + c2 ln(tokens)² + c3 ln(parameters) + c4 ln(batch)   ± the half width

with V the vocabulary: a model that knows nothing stands at 0, whatever its tokenizer. The half width held 95% of the points of
runs that had been left out of the fit, and the file says how well that held for runs that had no part in either. Outside of
the tokens, parameters, batches and vocabularies that were seen nothing is said. The runs read English and Chinese prose: text of
another nature may well lie elsewhere, which is why a run outside is told so, and not stopped.
"""

from __future__ import annotations

import json
import math
from collections import deque
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

FILE = Path(__file__).with_name("bands.json")
MEAN = 20  # steps whose mean loss is looked at


@cache
def bands() -> dict[str, Any]:
    return json.loads(FILE.read_text(encoding="utf-8")) if FILE.is_file() else {}


def features(tokens: float, parameters: float, batch: float) -> list[float]:
    """What a loss is fitted by: 1, ln tokens, its square, ln parameters, ln batch."""
    at = math.log(tokens)
    return [1.0, at, at * at, math.log(parameters), math.log(batch)]


@dataclass
class Band:
    """The expected losses of one training. `fit`: its kind's entry of bands.json."""

    fit: dict[str, Any]
    vocabulary: int
    parameters: int
    batch: int  # tokens of a step
    told: bool = False
    _recent: deque[float] = field(default_factory=lambda: deque(maxlen=MEAN))

    def expected(self, tokens: int) -> tuple[float, float, float] | None:
        """(low, middle, high) in nats a token after `tokens` tokens; None where the runs behind the band say nothing."""
        given = {"tokens": tokens, "parameters": self.parameters, "batch": self.batch, "vocabulary": self.vocabulary}
        if any(not low <= given[name] <= high for name, (low, high) in self.fit["ranges"].items()):
            return None
        sizes = features(tokens, self.parameters, self.batch)
        middle = sum(c * f for c, f in zip(self.fit["coefficients"], sizes))
        spread, unit = self.fit["halfwidth"], math.log(self.vocabulary)
        return tuple(unit * math.exp(middle + side) for side in (-spread, 0.0, spread))  # type: ignore[return-value]

    def look(self, tokens: int, loss: float) -> tuple[float, float, float, float] | None:
        """(mean loss, low, middle, high) the first time that the mean of the last steps is out of the band."""
        self._recent.append(loss)
        if self.told or len(self._recent) < MEAN:
            return None
        found = self.expected(tokens - MEAN * self.batch // 2)
        mean = sum(self._recent) / MEAN
        if found is None or found[0] <= mean <= found[2]:
            return None
        self.told = True
        return (mean, *found)


def band_of(model: dict[str, Any], objective: str, vocabulary: int, parameters: int | None, batch: int) -> Band | None:
    """The band of a model with these settings that learns to predict the next token; None where there is none."""
    fit = bands().get("kinds", {}).get(kind_of(model)) if objective == "causal" else None
    return Band(fit, vocabulary, parameters, batch) if fit and parameters else None


def kind_of(model: dict[str, Any]) -> str:
    """Whose band a model with these settings has: what learns faster than the others of its type is a kind of its own."""
    found = [model["type"]]
    if model.get("tie") is False:
        found.append("own head")
    if (model.get("embedding") or {}).get("grams"):
        found.append("hashed n-grams")
    return ", ".join(found)
