"""What is served: the models by their ids, an engine with a thread of its own for each that generates, and whether the
house takes new requests."""

from __future__ import annotations

import asyncio
import time
from typing import Any

from yanmo.inference.engine import Engine
from yanmo.inference.layout import for_decoding
from yanmo.inference.model import Model
from yanmo.serve.errors import ApiError
from yanmo.serve.limits import Limits
from yanmo.serve.worker import Worker


class House:
    """The models that are served, their workers, and whether new requests are taken."""

    def __init__(self, models: dict[str, Model], limits: Limits, slots: int):
        self.models, self.limits, self.slots = models, limits, slots
        self.workers: dict[str, Worker] = {}
        self.draining = False
        self.created = int(time.time())
        self.classifying = asyncio.Semaphore(1)  # batches of texts are predicted one after the other
        self.queued = 0

    def open(self) -> None:
        for name, model in self.models.items():
            if "generate" in model.abilities:
                for_decoding(model.loaded.model, self.slots)
                self.workers[name] = Worker(Engine(model.loaded.model, model.tokenizer, self.slots), self.limits.queue)

    def close(self) -> None:
        for worker in self.workers.values():
            worker.close()

    @property
    def healthy(self) -> bool:
        return not self.draining and all(worker.alive for worker in self.workers.values())

    def abort(self) -> None:
        for worker in self.workers.values():
            worker.abort(ApiError(503, "the server is shutting down", code="shutting_down"))

    def find(self, name: str | None, ability: str) -> tuple[str, Model]:
        """The model of that id, or the last one with the ability; 404 for an unknown id, 400 for one that cannot."""
        able = [key for key, model in self.models.items() if ability in model.abilities]
        if name is None and ability == "tokenize":  # the default for completions, where there is one
            able = [key for key in able if key in self.workers] or able
        if name is None:
            if not able:
                raise ApiError(400, f"none of the models here can {ability}: {', '.join(self.models)}", "model")
            return able[-1], self.models[able[-1]]
        if name not in self.models:
            raise ApiError(404, f"no such model: {name[:80]!r} - known: {', '.join(self.models)}", "model", "model_not_found")
        if name not in able:
            raise ApiError(400, f"model {name!r} cannot {ability} - those that can: {', '.join(able) or 'none'}", "model")
        return name, self.models[name]

    def load(self) -> dict[str, int]:
        """Sequences in a slot and waiting for one, in all engines."""
        engines = [worker.engine for worker in self.workers.values()]
        return {"running": sum(len(e.running) for e in engines), "waiting": sum(len(e.waiting) for e in engines)}

    def card(self, name: str) -> dict[str, Any]:
        model = self.models[name]
        return {"id": name, "object": "model", "created": self.created, "owned_by": "yanmo", "abilities": model.abilities,
                "context": self.workers[name].engine.context if name in self.workers else None}  # fmt: skip
