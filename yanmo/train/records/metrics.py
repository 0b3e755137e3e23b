"""metrics.jsonl: one line a step, one a validation, appended while training; cut back to the checkpoint on resume."""

from __future__ import annotations

import json
from pathlib import Path
from types import TracebackType
from typing import Any

from yanmo.core import files


class MetricsLog:
    """`{"step", "loss", "lr", "grad_norm", "tokens", "tokens_per_second", "seconds"}` a step (loss in nats a token, seconds
    since the start of training), and `{"step", "validation": {…}}` a validation."""

    def __init__(self, path: Path, step: int, validated: int = -1):
        """Goes on after `step`: lines of later steps, of validations after `validated`, and half a line are cut."""
        kept = []
        for line in path.read_text(encoding="utf-8").splitlines() if path.is_file() else []:
            try:
                entry = json.loads(line)
            except ValueError:
                continue  # the process died while it wrote this line
            limit = validated if "validation" in entry else step
            if entry.get("step", -1) <= limit:
                kept.append(line + "\n")
        files.write_text(path, "".join(kept))
        self.handle = open(path, "a", encoding="utf-8")  # noqa: SIM115 - closed by __exit__

    def write(self, **entry: Any) -> None:
        self.handle.write(json.dumps(entry, ensure_ascii=False) + "\n")
        self.handle.flush()

    def close(self) -> None:
        self.handle.close()

    def __enter__(self) -> MetricsLog:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()


def read(path: Path) -> list[dict[str, Any]]:
    """The lines of a finished or running training, oldest first."""
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines() if line.endswith("}")]
