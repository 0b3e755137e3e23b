"""Kill -9 at 50 random moments of three trainings: whatever was being done, each ends with the bytes of one that was not killed.

A nursery, a process that has imported everything and computed nothing, forks a child for each try; the child runs the command
line itself and is killed for good. So a kill hits the training and not the import of torch, and fifty of them take a minute.
(`tests/line/test_kills.py` kills a whole recipe, imports and all.)
"""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.train.conftest import exact
from yanmo.train import checkpoint

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

NURSERY = """
import json, os, signal, sys, time, traceback
import torch
torch.set_num_threads(1)
import yanmo.cli, yanmo.core.execute, yanmo.stages.pretrain, yanmo.stages.finetune, yanmo.stages.corpus, yanmo.stages.tokenizer
import yanmo.train.loop, yanmo.train.plan.decisions, yanmo.train.validate, yanmo.train.soundness.doctor, yanmo.models.store, yanmo.models.transformer
import yanmo.models.recurrent, yanmo.objectives.causal, yanmo.objectives.masked, yanmo.objectives.supervised, torch._dynamo
import pyarrow.parquet, safetensors.torch, tokenizers, torch.utils.checkpoint, torch.distributed.checkpoint.hf_storage
import yanmo.train.records.tensorboard
try:
    import tensorboard.compat.proto.event_pb2, tensorboard.summary.writer.record_writer
except ImportError:
    pass

for line in sys.stdin:
    cwd, arguments, after, number = json.loads(line)
    began = time.monotonic()
    child = os.fork()
    if child == 0:
        try:
            os.chdir(cwd)
            os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
            code = yanmo.cli.main(arguments)
        except BaseException:
            traceback.print_exc()
            code = 99
        sys.stderr.flush()
        os._exit(code)
    done, status = 0, 0
    while not done:
        if after is not None and time.monotonic() - began >= after:
            os.kill(child, number)
            done, status = os.waitpid(child, 0)
        else:
            done, status = os.waitpid(child, os.WNOHANG)
            time.sleep(0.001)
    print(json.dumps([status, time.monotonic() - began]), flush=True)
"""

CORPUS = "  - corpus: {source: [{type: jsonl, path: en.jsonl, language: en}, {type: jsonl, path: zh.jsonl, language: zh}], validation: 0.2}\n"
BPE = "  - tokenizer: {type: bpe, size: 400, special: ['<mask>']}\n"
RECIPES = {
    "causal": CORPUS + BPE + """
  - pretrain:
      model: {type: transformer, depth: 2, width: 32, heads: 2, dropout: 0.1}
      objective: {type: causal, context: 32}
      train: {steps: 60, batch_tokens: 256, micro_tokens: 64, checkpoint_every: 4, validate_every: 12, optim: {type: muon}, prefetch: 2}
""",
    "masked": CORPUS + BPE + """
  - pretrain:
      model: {type: transformer, architecture: encoder, depth: 2, width: 32, heads: 2}
      objective: {type: masked, context: 32, whole_word: false}
      train: {steps: 60, batch_tokens: 256, micro_tokens: 128, checkpoint_every: 5, validate_every: 20, spikes: {window: 8, deviations: 6}}
""",
    "classify": CORPUS + BPE + """
  - finetune:
      model: {type: lstm, depth: 1, width: 32, dropout: 0.2}
      task: {type: classify, path: {train: labelled.jsonl, validation: held.jsonl}}
      train: {epochs: 30, batch_tokens: 96, micro_tokens: 64, patience: 3, validate_every: 4, checkpoint_every: 3, keep: 1}
""",
}
STAGE = {"causal": "pretrain", "masked": "pretrain", "classify": "finetune"}
KILLS = {"causal": 17, "masked": 17, "classify": 16}


def write_data(folder: Path) -> None:
    """A few documents of each language from the shipped samples, and sentences labelled by their language and length."""
    from yanmo.samples import path

    sentences = []
    for name, source in (("en", "moby_dick"), ("zh", "sanguo")):
        lines = [line for file in sorted(path(source).glob("*.jsonl")) for line in file.read_text(encoding="utf-8").splitlines()][:12]
        (folder / f"{name}.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
        stop = "." if name == "en" else "。"
        found = [part.strip() + stop for line in lines for part in json.loads(line)["text"].split(stop) if len(part.strip()) > 4]
        sentences += [{"text": part[:120], "label": f"{name}-{'long' if len(part) > 60 else 'short'} 🐋"} for part in found[:60]]
    random.Random(0).shuffle(sentences)
    for name, part in (("labelled", sentences[:-24]), ("held", sentences[-24:])):
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in part), encoding="utf-8")


class Nursery:
    def __init__(self, folder: Path):
        self.folder = folder
        self.errors = open(folder / "errors.txt", "w+", encoding="utf-8")  # noqa: SIM115 - closed below
        environment = {**os.environ, "YANMO_LANG": "en", "OMP_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false"}
        self.process = subprocess.Popen([sys.executable, "-W", "ignore", "-c", NURSERY], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                        stderr=self.errors, text=True, env=environment, cwd=folder)  # fmt: skip

    def run(self, arguments: list[str], after: float | None = None, number: int = signal.SIGKILL) -> tuple[bool, float]:
        """Whether the child was ended by the signal, `after` seconds, and how long it took."""
        self.process.stdin.write(json.dumps([str(self.folder), arguments, after, number]) + "\n")
        self.process.stdin.flush()
        status, seconds = json.loads(self.process.stdout.readline())
        assert status in (0, number), f"status {status}: {(self.folder / 'errors.txt').read_text()[-2000:]}"
        return status != 0, seconds

    def close(self) -> None:
        self.process.stdin.close()
        self.process.wait(20)
        self.process.stdout.close()
        self.errors.close()


@pytest.fixture(scope="module")
def nursery(tmp_path_factory):
    folder = tmp_path_factory.mktemp("nursery")
    write_data(folder)
    found = Nursery(folder)
    yield found
    found.close()


def outputs(stage: Path) -> dict[str, object]:
    """What must not depend on how often the training was killed; timings and costs do."""
    found: dict[str, object] = {p.name: p.read_bytes() for p in sorted((stage / "model").iterdir())}
    found["training.json"] = (stage / "training.json").read_bytes()
    found["metrics"] = exact(stage)
    found["checkpoints"] = {p.name: [(p / name).read_bytes() for name in ("model.safetensors", "optimizer.safetensors")]
                            for p in sorted((stage / "checkpoints").iterdir())}  # fmt: skip
    return found


@pytest.mark.parametrize("recipe", list(RECIPES))
def test_killed_at_random_moments_the_bytes_are_the_same(recipe, nursery):
    began, folder, stage = time.monotonic(), nursery.folder, STAGE[recipe]
    (folder / f"{recipe}.yaml").write_text(f"name: {recipe}\nstages:\n{RECIPES[recipe]}", encoding="utf-8")
    base = ["run", f"{recipe}.yaml", "--quiet", "--run-dir"]
    nursery.run([*base, f"{recipe}-base", "--until", "tokenizer"])
    shutil.copytree(folder / f"{recipe}-base", folder / f"{recipe}-whole")
    _, length = nursery.run([*base, f"{recipe}-whole"])
    want = outputs(folder / f"{recipe}-whole" / stage)
    assert len(want["metrics"]) > 30
    rng, kills, ends, steps = random.Random(recipe), 0, 0, set()
    run = folder / f"{recipe}-killed"
    while kills < KILLS[recipe] or run.is_dir():
        if not run.is_dir():
            shutil.copytree(folder / f"{recipe}-base", run)
        last = kills >= KILLS[recipe]
        killed, _ = nursery.run([*base, run.name], None if last else rng.uniform(0.05, 1.05) * length)
        if killed:
            kills += 1
            steps |= {p.name for p in (run / stage / "checkpoints").glob("step-*") if checkpoint.broken(p) is None}
            continue
        found = outputs(run / stage)
        assert [name for name in want if want[name] != found.get(name)] == []
        assert not list(run.rglob(".tmp-*"))
        shutil.rmtree(run)
        ends += 1
    print(f"{recipe}: {kills} kills, {ends} times to the end, {len(steps)} checkpoints gone on from, {time.monotonic() - began:.0f} s")
    assert len(steps) >= 3, "the kills hit the training at different moments"


def test_sigterm_saves_exits_with_0_and_says_what_to_run_next(nursery):
    """A run that is asked to stop again and again, as on a machine that is taken back every second, ends with the same bytes."""
    folder = nursery.folder
    (folder / "term.yaml").write_text(f"name: term\nstages:\n{RECIPES['causal']}", encoding="utf-8")
    base = ["run", "term.yaml", "--quiet", "--run-dir"]
    nursery.run([*base, "term-base", "--until", "tokenizer"])
    for name in ("term-whole", "term-stopped"):
        shutil.copytree(folder / "term-base", folder / name)
    _, length = nursery.run([*base, "term-whole"])
    stops, stopped = 0, folder / "term-stopped" / "pretrain"
    for turn in range(20):
        before = (folder / "errors.txt").stat().st_size
        killed, _ = nursery.run([*base, "term-stopped"], (0.3 + 0.05 * turn) * length, signal.SIGTERM)
        assert not killed, "exit status 0, wherever the run is"
        said = (folder / "errors.txt").read_text(encoding="utf-8")[before:]
        if (stopped / "manifest.json").is_file():
            break
        line = next(line for line in said.splitlines() if line.startswith("yanmo: "))
        assert "stopped by SIGTERM" in line
        assert " - run the same command again to go on" in line
        if "after step" in line:
            assert "of 60; a checkpoint is saved - run" in line
            stops += 1
    assert stops >= 1
    assert outputs(stopped) == outputs(folder / "term-whole" / "pretrain")
