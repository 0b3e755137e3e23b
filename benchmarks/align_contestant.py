"""One contestant of benchmarks/align.py, alive in a process of its own; it trains when told to and is silent otherwise.

    python align_contestant.py yanmo|trl dpo|grpo THREADS FOLDER      on stdin: a number of steps a line; on stdout: JSON lines

FOLDER holds model/ (a Llama with its tokenizer, as transformers and we both open it), pairs.jsonl and prompts.jsonl. Files of
a peer's environment are imported only for that peer.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

PAIRS, PROMPTS, GROUP, ANSWER, PROMPT = 8, 4, 8, 48, 48
LENGTHS = (16, 96)  # tokens of a preferred answer
ROWS = 256
BETA, KL, LR = 0.1, 0.04, 1e-5
SETTINGS = {"depth": 6, "width": 384, "heads": 6, "mlp_width": 1024, "qk_norm": False, "tie": True}


def make(folder: Path, model: str | None = None) -> None:
    """The model and the data: words at random, so that nothing ends early."""
    import random
    import shutil

    import torch

    from yanmo.core.registry import create
    from yanmo.models.store import load, save
    from yanmo.text.bpe import BpeTokenizer

    dice = random.Random(0)
    syllables = [a + b for a in "bdfgklmnprstvz" for b in ("a", "e", "i", "o", "u", "ai", "ou")] + list("研墨文字书写山水云月")
    words = ["".join(dice.choice(syllables) for _ in range(dice.randint(1, 3))) for _ in range(6000)]
    if model is None:
        tokenizer = BpeTokenizer(size=4096).train([" ".join(dice.choices(words, k=400)) for _ in range(200)])
        part = create("model", {"type": "transformer", **SETTINGS})
        save(folder / "model", part.build(tokenizer, torch.Generator().manual_seed(0), context=512), tokenizer)
    else:
        shutil.copytree(model, folder / "model")
        found = load(folder / "model").tokenizer
        assert found is not None
        tokenizer = found

    def text(tokens: int) -> str:
        return tokenizer.decode(tokenizer.encode(" ".join(dice.choices(words, k=tokens)))[:tokens])

    rows = [{"prompt": text(PROMPT), "chosen": text(dice.randint(*LENGTHS)), "rejected": text(dice.randint(*LENGTHS))}
            for _ in range(ROWS)]  # fmt: skip
    for name, fields in (("pairs", ("prompt", "chosen", "rejected")), ("prompts", ("prompt",))):
        lines = [json.dumps({field: row[field] for field in fields}, ensure_ascii=False) + "\n" for row in rows]
        (folder / f"{name}.jsonl").write_text("".join(lines), encoding="utf-8")


def read(path: Path) -> list[dict[str, str]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def parameters(model: Any) -> int:
    return sum(p.numel() for p in model.parameters())


# ------------------------------------------------------------------------------------------------ ours


def yanmo(case: str, folder: Path) -> tuple[Callable[[], float], int]:
    import copy

    import torch

    from yanmo.core.registry import create
    from yanmo.inference.rollouts import generator
    from yanmo.models.store import load
    from yanmo.objectives.base import Context
    from yanmo.objectives.preferences import known
    from yanmo.train.batches import LabelledBatches
    from yanmo.train.job import Job
    from yanmo.train.prompts import PromptBatches
    from yanmo.train.randomness import seeded
    from yanmo.train.step import forward_of, update

    loaded = load(folder / "model")
    model, tokenizer = loaded.model, loaded.tokenizer
    assert tokenizer is not None
    batches: Any
    if case == "dpo":
        objective = create("objective", {"type": "dpo", "beta": BETA}).bind(Context(tokenizer))
        task = create("task", {"type": "preferences", "path": str(folder / "pairs.jsonl"), "validation": 0})
        rows = objective.rows([tuple(task.encode(example, tokenizer, 512)) for example in task.load("train")])
        with torch.no_grad():
            for start in range(0, len(rows), PAIRS):
                part = rows[start : start + PAIRS]
                found = objective.likelihoods(model, objective.collate(part, torch.Generator()))
                rows[start : start + PAIRS] = [known(row, values) for row, values in zip(part, found.tolist())]
        batches = LabelledBatches(rows, objective, PAIRS, PAIRS, 0)
    else:
        reference = copy.deepcopy(model).requires_grad_(False)
        context = Context(tokenizer, models={"reference": reference}, generate=generator(tokenizer),
                          reward=lambda examples, answers: [float(len(answer)) for answer in answers])  # fmt: skip
        settings = {"type": "grpo", "group": GROUP, "prompts": PROMPTS, "max_tokens": ANSWER, "kl": KL}
        objective = create("objective", settings).bind(context)
        task = create("task", {"type": "prompts", "path": str(folder / "prompts.jsonl"), "validation": 0})
        rows = [row for example in task.load("train") for row in task.encode(example, tokenizer, 512)]
        batches = PromptBatches(rows, objective, 0, 0)
    optimizer = create("optimizer", {"type": "adamw", "lr": LR, "weight_decay": 0.0}).make(model)
    job = Job(model, objective, batches, optimizer, create("schedule", "constant"), 1, folder, 0)
    forward = forward_of(job)
    model.train()
    state = {"cursor": (0, 0), "step": 0}

    def step() -> float:
        rng = seeded(0, state["step"])  # type: ignore[arg-type]
        micro, state["cursor"] = batches.take(state["cursor"], rng)
        state["step"] += 1  # type: ignore[operator]
        return update(job, forward, micro, rng).loss

    return step, parameters(model)


# ------------------------------------------------------------------------------------------------ TRL


def trl(case: str, folder: Path) -> tuple[Any, int]:
    """A trainer that makes its steps when it is told to: what runs in its callbacks waits for a line of stdin."""
    import torch
    from datasets import Dataset
    from transformers import AutoModelForCausalLM, AutoTokenizer

    model = AutoModelForCausalLM.from_pretrained(folder / "model", dtype=torch.float32, attn_implementation="sdpa")
    tokenizer = AutoTokenizer.from_pretrained(folder / "model")
    shared: dict[str, Any] = {
        "output_dir": str(folder / "trl"), "learning_rate": LR, "max_steps": 1_000_000, "lr_scheduler_type": "constant",
        "logging_strategy": "no", "save_strategy": "no", "report_to": "none", "use_cpu": not torch.cuda.is_available(),
        "bf16": False, "fp16": False, "gradient_checkpointing": False, "optim": "adamw_torch_fused", "max_grad_norm": 1.0,
        "gradient_accumulation_steps": 1, "disable_tqdm": True, "dataloader_num_workers": 0, "seed": 0,
        "dataloader_pin_memory": False,
    }  # fmt: skip
    if case == "dpo":
        from trl import DPOConfig, DPOTrainer

        settings: Any = DPOConfig(**shared, per_device_train_batch_size=PAIRS, beta=BETA, precompute_ref_log_probs=True,
                                  max_length=512)  # fmt: skip
        trainer: Any = DPOTrainer(model=model, args=settings, train_dataset=Dataset.from_list(read(folder / "pairs.jsonl")),
                                  processing_class=tokenizer)  # fmt: skip
    else:
        from trl import GRPOConfig, GRPOTrainer

        settings = GRPOConfig(**shared, per_device_train_batch_size=PROMPTS * GROUP, num_generations=GROUP, beta=KL,
                              max_completion_length=ANSWER, loss_type="grpo", temperature=1.0)  # fmt: skip
        trainer = GRPOTrainer(model=model, args=settings, train_dataset=Dataset.from_list(read(folder / "prompts.jsonl")),
                              processing_class=tokenizer,
                              reward_funcs=lambda completions, **_: [float(len(answer)) for answer in completions])  # fmt: skip
    return trainer, parameters(model)


def follow(trainer: Any, size: int, started: float) -> None:
    """Trains until stdin ends, in bursts; two steps first, as warm-up."""
    from transformers import TrainerCallback

    plain, losses = trainer.training_step, []

    def training_step(*given: Any, **named: Any) -> Any:
        made = plain(*given, **named)
        losses.append(float(made))
        return made

    trainer.training_step = training_step

    class Bursts(TrainerCallback):
        left, begun, warm = 2, 0.0, False

        def on_step_begin(self, *_: Any, **__: Any) -> None:
            if self.left == 0:
                line = sys.stdin.readline()
                if not line:
                    raise SystemExit(0)
                self.left, self.begun = int(line), time.perf_counter()

        def on_step_end(self, *_: Any, **__: Any) -> None:
            self.left -= 1
            if self.left == 0:
                seconds = time.perf_counter() - (self.begun if self.warm else started)
                about = {} if self.warm else {"parameters": size, "losses": losses[:2]}
                self.warm = True
                print(json.dumps({**about, "seconds": seconds}), flush=True)

    trainer.add_callback(Bursts())
    trainer.train()


def main() -> None:
    name, case, threads, folder = sys.argv[1], sys.argv[2], int(sys.argv[3]), Path(sys.argv[4])
    import torch

    torch.set_num_threads(threads)
    torch.manual_seed(0)
    started = time.perf_counter()
    if name == "trl":
        follow(*trl(case, folder), started)
        return
    step, size = yanmo(case, folder)
    first = [step(), step()]
    print(json.dumps({"parameters": size, "seconds": time.perf_counter() - started, "losses": first}), flush=True)
    for steps in commands():
        begun = time.perf_counter()
        for _ in range(steps):
            step()
        print(json.dumps({"seconds": time.perf_counter() - begun}), flush=True)


def commands() -> Iterator[int]:
    for line in sys.stdin:
        yield int(line)


if __name__ == "__main__":
    main()
