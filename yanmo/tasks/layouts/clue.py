"""CLUE (Xu et al. 2020) as its archives unpack: a folder a task, a JSON object a line.

The labels of `test.json` are not public, so the development file is the test part here, and the validation part is carved
from the training file.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from yanmo.core.config import describe
from yanmo.core.messages import text
from yanmo.tasks.labelled import label_text
from yanmo.tasks.layouts.layout import Layout, named
from yanmo.tasks.offenders import Offenders
from yanmo.tasks.records import Record, records


@dataclass(frozen=True)
class Keys:
    """Where a task's rows have text, second text and label."""

    text: str
    label: str
    second: str | None = None
    names: dict[str, str] = field(default_factory=dict)  # labels as they are written → as they are called


UNDECIDED = "-"  # of natural language inference: the annotators did not agree, and everyone leaves the row out
TASKS = {
    "afqmc": Keys("sentence1", "label", "sentence2", {"0": "different", "1": "same"}),
    "tnews": Keys("sentence", "label_desc"),
    "iflytek": Keys("sentence", "label_des"),
    "cmnli": Keys("sentence1", "label", "sentence2"),
    "ocnli": Keys("sentence1", "label", "sentence2"),
    "csl": Keys("abst", "label", "keyword", {"0": "false", "1": "true"}),
}


class Clue(Layout):
    """CLUE's JSON lines: afqmc, tnews, iflytek, cmnli, ocnli, csl."""

    type: str = "clue"
    task: Literal["afqmc", "tnews", "iflytek", "cmnli", "ocnli", "csl"]

    def files(self, path: str | dict[str, str]) -> dict[str, list[Path]]:
        return named(path, {"train": ("train.json", "train.50k.json"), "test": ("dev.json",)})

    def records(self, file: Path) -> Iterator[Record]:
        """DataError for labels that the task has not; missing keys are found by who reads the records."""
        keys = TASKS[self.task]
        offenders = Offenders()
        for record in records(file):
            values: dict[str, Any] = {}
            for name, key in (("text", keys.text), ("second", keys.second), ("label", keys.label)):
                if key is not None and key in record.values:
                    values[name] = record.values[key]
            if isinstance(values.get("second"), list):  # CSL's keywords
                values["second"] = "；".join(map(str, values["second"]))
            label = label_text(values.get("label"))
            if label == UNDECIDED:
                continue
            if keys.names and "label" in values:
                if label not in keys.names:
                    offenders.add("label", record.where, text("one of {choices}", choices=", ".join(keys.names)),
                                  describe(values["label"]))  # fmt: skip
                    continue
                values["label"] = keys.names[label]
            yield Record(record.where, values)
        offenders.raise_any()
