"""What the tests of several processes run in each: small trainings, described by plain data, and what they left.

A process is told its rank in environment variables, as a launcher does, meets the others, and works through the cases one after
the other. The same cases in one process are what they are compared with.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import socket
import sys
import time
import traceback
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

TEXTS = ["Call me Ishmael. Some years ago, never mind how long precisely. 🐋 ", "话说天下大势，分久必合，合久必分。周末七国分争。",
         "Café, naïve, e\u0301te\u0301 — 模型 model 训练 training 👩‍🚀."] * 8  # fmt: skip
SMALL = {"type": "transformer", "depth": 2, "width": 32, "heads": 4, "kv_heads": 2, "mlp_width": 64}


@dataclass(frozen=True)
class Case:
    name: str
    parallel: dict[str, Any] | None = None
    model: dict[str, Any] = field(default_factory=dict)  # beside SMALL
    objective: str = "causal"
    optimizer: dict[str, Any] = field(default_factory=lambda: {"type": "muon"})
    steps: int = 6
    until: int | None = None  # a kill, as it were, after so many steps
    rows: int = 8
    micro: int = 2
    context: int = 20
    checkpoint_every: int | None = None
    folder: str | None = None  # of an earlier case, to go on from
    validates: bool = False
    slow: tuple[int, int, float] | None = None  # rank, step, seconds that its rows take
    device: str = "cpu"
    adapter: dict[str, Any] | None = None


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


def together(size: int, cases: list[Case], folder: Path, seconds: float = 100) -> list[dict[str, Any]]:
    """Runs the cases on `size` processes; what rank 0 found of each."""
    context = multiprocessing.get_context("spawn")
    port = free_port()
    processes = [context.Process(target=_work, args=(rank, size, port, cases, str(folder))) for rank in range(size)]
    for process in processes:
        process.start()
    end = time.monotonic() + seconds
    try:
        for process in processes:
            process.join(max(0.1, end - time.monotonic()))
        faults = [path.read_text() for path in sorted(folder.glob("fault-*"))]
        assert not faults, "\n".join(faults)
        assert [process.exitcode for process in processes] == [0] * size
    finally:
        for process in processes:
            if process.is_alive():
                process.kill()
    return json.loads((folder / "found.json").read_text())


def _work(rank: int, size: int, port: int, cases: list[Case], folder: str) -> None:
    os.environ.update(RANK=str(rank), WORLD_SIZE=str(size), LOCAL_RANK=str(rank), MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port),
                      YANMO_LANG="en", GLOO_SOCKET_IFNAME="lo")  # fmt: skip
    try:
        import torch

        from yanmo.train.parallel.ranks import Ranks

        torch.set_num_threads(1)
        ranks = Ranks.join()
        found = [run(case, Path(folder), ranks) for case in cases]
        ranks.tell("end", "")  # rank 0 holds the store
        ranks.leave()
        if rank == 0:
            (Path(folder) / "found.json").write_text(json.dumps(found))
            time.sleep(0.3)
    except BaseException:
        (Path(folder) / f"fault-{rank}").write_text(traceback.format_exc())
        sys.exit(1)


class Killed(Exception):
    pass


def run(case: Case, folder: Path, crew: Any = None) -> dict[str, Any]:
    """One training: its lines of metrics, its weights as lists of numbers, what the heartbeat said."""
    import numpy as np
    import torch

    from yanmo.core.console import Console
    from yanmo.core.crew import ALONE
    from yanmo.core.data import Row
    from yanmo.core.registry import create
    from yanmo.models.classifier import Classifier
    from yanmo.objectives.base import Context
    from yanmo.text.characters import CharacterTokenizer
    from yanmo.train.batches import LabelledBatches, TokenBatches
    from yanmo.train.job import Job, Verdict
    from yanmo.train.loop import train
    from yanmo.train.parallel import worlds

    crew = crew or ALONE
    tokenizer = CharacterTokenizer(min_count=1, special=["<mask>"]).train(TEXTS)

    class Stream:
        tokens = np.array([token for text in TEXTS for token in (1, *tokenizer.encode(text))], np.uint16)
        documents = None

    said: list[str] = []
    objective = create("objective", case.objective).bind(Context(tokenizer))
    device = torch.device(case.device)
    chosen = create("parallel", case.parallel) if case.parallel else None
    world = worlds.world_of(crew, chosen, device)
    if crew.size > 1:
        world.heart.say = lambda line: said.append(str(line))
    plan = world.shared({"rows": case.rows, "micro_rows": case.micro})
    model = create("model", {**SMALL, **case.model}).build(tokenizer, torch.Generator().manual_seed(1), case.context)
    batches: Any
    if case.objective == "supervised":
        model = Classifier(model, 2)
        model.initialise(torch.Generator().manual_seed(2))
        rows = [Row([1, *tokenizer.encode(body)[: 8 + index]], label=index % 2, example=str(index)) for index, body in enumerate(TEXTS[:10])]
        batches = LabelledBatches(rows, objective, case.rows, plan["micro_rows"], 3)
    else:
        batches = TokenBatches(Stream(), objective, case.context, case.rows, plan["micro_rows"], 3)
    if case.adapter is not None:
        model = create("adapter", case.adapter).apply(model, torch.Generator().manual_seed(4))
    objective.check(model)
    model = world.place(model, device)
    taken, inner = [0], batches.take
    place = Path(folder) / (case.folder or case.name)

    def take(cursor: Any, rng: Any) -> Any:
        taken[0] += 1
        step = taken[0] + begun
        if case.until is not None and step > case.until:
            raise Killed
        if case.slow is not None and (crew.rank, step) == case.slow[:2]:
            time.sleep(case.slow[2])
        return inner(cursor, rng)

    def validate() -> Verdict:
        from yanmo.inference.likelihood import score_tokens

        nats = float(score_tokens(model, [Stream.tokens[:30].astype(np.int64), Stream.tokens[30:45].astype(np.int64)]).sum())
        return Verdict((nats,), {"nats": nats})

    steps = sorted((place / "checkpoints").glob("step-*"))
    begun = int(steps[-1].name[-8:]) if steps else 0
    if crew.size > 1:
        begun = int(crew.tell("begun", str(begun)))
    batches.take = take  # type: ignore[method-assign]
    job = Job(
        model=model, objective=objective, batches=batches, optimizer=create("optimizer", case.optimizer).make(model),
        schedule=create("schedule", "cosine"), steps=case.steps, folder=world.folder(place), seed=5, world=world, device=world.device,
        console=Console(quiet=True), checkpoint_every=case.checkpoint_every, validate=validate if case.validates else None,
        validate_every=2 if case.validates else None,
    )  # fmt: skip
    place.mkdir(exist_ok=True)
    with suppress(Killed):
        train(job)
    whole = world.plain(model)
    world.leave()
    if not crew.first:
        return {}
    lines = [json.loads(line) for line in (place / "metrics.jsonl").read_text().splitlines()]
    weights = {name: value.double().cpu().flatten().tolist() for name, value in whole.state_dict().items()}
    return {"case": asdict(case), "lines": lines, "weights": weights, "said": said, "begun": begun}
