"""What a run's directory says of itself, gathered for the report and the card: nothing here is computed anew.

Whatever is missing (a run without a corpus, a model that was counted and has no curve) is empty, and the pages leave it
out. Timings stand in manifests and logs, which are not outputs; so they are shown, and change no digest.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache, cached_property
from pathlib import Path
from typing import Any

import yaml

from yanmo.core import files
from yanmo.core.manifest import stage_manifests

Json = dict[str, Any]


@dataclass
class Training:
    """One trained model: its plan and its log."""

    name: str
    plan: Json
    steps: list[Json] = field(default_factory=list)  # {"step", "loss", "seconds", "tokens" …}
    validations: list[Json] = field(default_factory=list)  # {"step", "seconds", figures …}

    @property
    def seconds(self) -> float:
        return float(self.steps[-1].get("seconds", 0.0)) if self.steps else 0.0


class Record:
    """A run directory, read when asked. `evaluation` is the folder of the evaluate stage."""

    def __init__(self, directory: Path, evaluation: Path):
        self.directory, self.evaluation = Path(directory), Path(evaluation)

    @cached_property
    def recipe_text(self) -> str:
        path = self.directory / "recipe.yaml"
        return path.read_text(encoding="utf-8") if path.is_file() else ""

    @cached_property
    def recipe(self) -> Json:
        return yaml.safe_load(self.recipe_text) or {}

    @property
    def name(self) -> str:
        return str(self.recipe.get("name") or self.directory.name)

    @cached_property
    def environment(self) -> Json:
        return self._json(self.directory / "environment.json", {})

    @cached_property
    def manifests(self) -> list[Json]:
        """Of the finished stages, in the recipe's order (the evaluation itself is not finished while it is written)."""
        if not self.recipe_text:
            return []
        return [m for m in stage_manifests(self.directory) if m["stage"] != self.evaluation.name]

    def of_kind(self, kind: str) -> list[Json]:
        return [manifest for manifest in self.manifests if manifest["kind"] == kind]

    def seconds(self, model: str) -> float | None:
        """Wall clock of the stage that made the model; None where no stage of this run did."""
        stage = self.tables["models"].get(model, {}).get("stage")
        return next((float(m["seconds"]) for m in self.manifests if m["stage"] == stage), None)

    def objective(self, stage: str) -> str:
        """What a stage that trains minimised, as the recipe has it."""
        for item in self.recipe.get("stages", []):
            kind = next((key for key in item if key != "name"), "")
            if item.get("name", kind) == stage:
                return str(((item[kind] or {}).get("objective") or {}).get("type") or "supervised")
        return "–"

    # ------------------------------------------------------------------------------------------------ results

    @cached_property
    def results(self) -> list[Json]:
        return self._json(self.evaluation / "results.json", [])

    @cached_property
    def tables(self) -> Json:
        return self._json(self.evaluation / "tables.json", {"models": {}, "tasks": {}, "left_out": []})

    @cached_property
    def samples(self) -> list[Json]:
        return self._json(self.evaluation / "samples.json", [])

    def figure(self, model: str, task: str, metric: str, group: str | None = None) -> Json | None:
        """One line of the results, or None."""
        return self.figures.get((model, task, metric, group))

    @cached_property
    def figures(self) -> dict[tuple[str, str, str, str | None], Json]:
        return {(r["model"], r["task"], r["metric"], r.get("group")): r for r in self.results}

    def groups(self, task: str) -> list[str]:
        return list(dict.fromkeys(r["group"] for r in self.results if r["task"] == task and r.get("group")))

    def answers(self, model: str, task: str) -> Iterator[Json]:
        yield from lines(self.evaluation / "answers" / model / f"{task}.jsonl")

    # ------------------------------------------------------------------------------------------------ corpus

    @cached_property
    def corpora(self) -> list[Json]:
        """{"stage", "stats", "manifest"} of each corpus stage."""
        return [{"stage": m["stage"], "stats": self._json(self.directory / m["stage"] / "stats.json", {}), "manifest": m}
                for m in self.of_kind("corpus")]  # fmt: skip

    @cache  # noqa: B019 - a record lives as long as one report
    def rejected(self, stage: str, fate: str, each: int = 2) -> dict[str, list[Json]]:
        """For each reason the first `each` texts that were 'dropped' or 'quarantined'; reads no further than it must."""
        import pyarrow.parquet as parquet

        stats = self._json(self.directory / stage / "stats.json", {}).get(fate, {})
        open_reasons = {reason: min(n, each) for reason, n in stats.items()}
        found: dict[str, list[Json]] = {}
        for part in sorted((self.directory / stage / fate).glob("*.parquet")):
            with parquet.ParquetFile(part) as file:
                for batch in file.iter_batches(batch_size=256):
                    for row in batch.to_pylist() if open_reasons else []:
                        reason = reason_of(row)
                        if reason in open_reasons:
                            found.setdefault(reason, []).append(row)
                            open_reasons[reason] -= 1
                            if not open_reasons[reason]:
                                del open_reasons[reason]
        return found

    # ------------------------------------------------------------------------------------------------ training

    @cached_property
    def trainings(self) -> list[Training]:
        found = []
        for manifest in self.manifests:
            folder = self.directory / manifest["stage"]
            if (folder / "plan.json").is_file() or (folder / "metrics.jsonl").is_file():
                found.append(self._training(manifest["stage"], folder))
        return found

    def _training(self, name: str, folder: Path) -> Training:
        training = Training(name, self._json(folder / "plan.json", {}))
        seconds = 0.0
        for line in lines(folder / "metrics.jsonl"):
            if "validation" in line:
                training.validations.append({"step": line["step"], "seconds": line.get("seconds", seconds), **line["validation"]})
            elif "loss" in line:
                seconds = float(line.get("seconds", seconds))
                training.steps.append(line)
        return training

    @cached_property
    def costs(self) -> dict[str, Json]:
        """stage → what it took, where it kept account: {"seconds", "joules", "method", "grams" …}."""
        found = {m["stage"]: self._json(self.directory / m["stage"] / "cost.json", None) for m in self.manifests}
        return {stage: cost for stage, cost in found.items() if cost}

    def bytes_per_token(self, stage: str) -> float | None:
        """Of the training tokens that a stage read: what turns its loss in nats a token into bits a byte."""
        manifest = next((m for m in self.manifests if m["stage"] == stage), None)
        inputs = {link["role"]: link["from"] for link in (manifest or {}).get("inputs", [])}
        path = self.directory / "tokens" / f"{inputs.get('corpus')}-{inputs.get('tokenizer')}" / "tokens.json"
        train = self._json(path, {}).get("splits", {}).get("train", {})
        return train["bytes"] / train["tokens"] if train.get("tokens") else None

    @staticmethod
    def _json(path: Path, otherwise: Any) -> Any:
        return files.read_json(path) if path.is_file() else otherwise


def lines(path: Path) -> Iterator[Json]:
    """The objects of a JSON lines file; none where there is no such file."""
    if path.is_file():
        with open(path, encoding="utf-8") as handle:
            yield from map(json.loads, handle)


def reason_of(row: Json) -> str:
    parts = [str(row[name]) for name in ("step", "reason") if row.get(name)]
    return ".".join(parts) or "unknown"


def bits(nats_per_token: float, bytes_per_token: float) -> float:
    return nats_per_token / math.log(2) / bytes_per_token
