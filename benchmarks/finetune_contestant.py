"""One contestant of benchmarks/finetune.py, alive in a process of its own; it trains when told to and is silent otherwise.

    python finetune_contestant.py NAME MODEL KIND DATA ROWS LENGTH THREADS IMPORTS
    NAME: yanmo-full yanmo-lora hf-full hf-lora · KIND: classify (an encoder) or text (a decoder) · stdin: steps a line

Everyone fine-tunes the same folder on the same texts, `ROWS` a step, cut at LENGTH tokens, AdamW in float32, clipping at
norm 1, LoRA of rank 8 on queries and values. Ours puts rows of similar length together; so does Hugging Face's Trainer
(`train_sampling_strategy="group_by_length"`), its better mode. Memory is the process's peak while it trains, less what it
held before the model was opened, when the modules named in the file IMPORTS were there already.
"""

from __future__ import annotations

import importlib
import json
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

Steps = Callable[[int], int]  # steps to train → rows trained on
RANK, ALPHA, LR = 8, 16, 2e-4


def texts(data: str, kind: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in Path(data).read_text(encoding="utf-8").splitlines()]


def ours(lora: bool, model: str, kind: str, data: str, rows: int, length: int) -> Steps:
    import torch

    from yanmo.core.registry import create, lookup
    from yanmo.models.store import load
    from yanmo.train.batches import LabelledBatches
    from yanmo.train.job import Job
    from yanmo.train.step import forward_of, update

    opened: Any = load(model)
    name = "classify" if kind == "classify" else "chat"
    task = create("task", {"type": name, "path": {"train": data}, "validation": 0, "test": 0})
    tuning = lookup("tuning", task.head)()
    trained = tuning.build(opened.model, task, torch.Generator().manual_seed(0))
    if lora:
        part = create("adapter", {"type": "lora", "rank": RANK, "alpha": ALPHA})
        trained = part.apply(trained, torch.Generator().manual_seed(0))
    objective = tuning.bind(create("objective", tuning.objective), task, opened.tokenizer, opened.model)
    encoded, _ = tuning.rows(task, task.load("train"), opened.tokenizer, length)
    batches = LabelledBatches(encoded, objective, rows, rows, 0)
    optimizer = create("optimizer", {"type": "adamw", "lr": LR, "weight_decay": 0.0}).make(trained)
    job = Job(trained, objective, batches, optimizer, create("schedule", "constant"), 1, Path(), 0)
    forward, rng = forward_of(job), torch.Generator().manual_seed(0)
    trained.train()
    cursor = (0, 0)

    def steps(count: int) -> int:
        nonlocal cursor
        done = 0
        for _ in range(count):
            micro, cursor = batches.take(cursor, rng)
            job.optimizer.begin(1.0, 0, 0)
            update(job, forward, micro, rng)
            done += sum(len(batch.inputs.tokens) for batch in micro)
        return done

    return steps


def huggingface(lora: bool, model: str, kind: str, data: str, rows: int, length: int) -> Steps:
    import tempfile

    import torch
    import transformers

    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    tokenizer = transformers.AutoTokenizer.from_pretrained(model)
    found = texts(data, kind)
    if kind == "classify":
        names = sorted({row["label"] for row in found})
        items = [{**tokenizer(row["text"], truncation=True, max_length=length), "labels": names.index(row["label"])}
                 for row in found]  # fmt: skip
        base = transformers.AutoModelForSequenceClassification.from_pretrained(model, num_labels=len(names), dtype=torch.float32)
        collate: Any = transformers.DataCollatorWithPadding(tokenizer)
    else:
        items = []
        for row in found:
            prompt = tokenizer.apply_chat_template(row["messages"][:-1], add_generation_prompt=True, return_dict=False)
            whole = tokenizer.apply_chat_template(row["messages"], return_dict=False)[:length]
            items.append({"input_ids": whole, "labels": [-100] * min(len(prompt), len(whole)) + whole[len(prompt) :]})
        items = [item for item in items if any(label != -100 for label in item["labels"])]
        base = transformers.AutoModelForCausalLM.from_pretrained(model, dtype=torch.float32)
        base.config.use_cache = False
        collate = transformers.DataCollatorForSeq2Seq(tokenizer)
    if lora:
        import peft

        task = "SEQ_CLS" if kind == "classify" else "CAUSAL_LM"
        targets = ["query", "value"] if kind == "classify" else ["q_proj", "v_proj"]
        base = peft.get_peft_model(base, peft.LoraConfig(r=RANK, lora_alpha=ALPHA, target_modules=targets, task_type=task))
    arguments = {"output_dir": tempfile.mkdtemp(), "per_device_train_batch_size": rows, "learning_rate": LR, "weight_decay": 0.0,
                 "lr_scheduler_type": "constant", "optim": "adamw_torch_fused", "report_to": [], "save_strategy": "no",
                 "logging_strategy": "no", "disable_tqdm": True, "use_cpu": True, "seed": 0}  # fmt: skip
    known = set(transformers.TrainingArguments.__dataclass_fields__)
    newer = "train_sampling_strategy" in known
    arguments |= {"train_sampling_strategy": "group_by_length"} if newer else {"group_by_length": True}
    state: dict[str, Any] = {}

    def steps(count: int) -> int:
        """Every burst is a training of its own: the model and the optimizer go on, the set-up of a Trainer is not timed."""
        made = transformers.TrainingArguments(**arguments, max_steps=count)
        trainer = transformers.Trainer(model=base, args=made, train_dataset=items, data_collator=collate,
                                       processing_class=tokenizer)  # fmt: skip
        if "optimizer" in state:
            trainer.optimizer = state["optimizer"]
        trainer.add_callback(clock)
        trainer.train()
        state["optimizer"] = trainer.optimizer
        return count * rows

    class Clock(transformers.TrainerCallback):
        def on_train_begin(self, *given: Any, **more: Any) -> None:
            state["began"] = time.perf_counter()

        def on_train_end(self, *given: Any, **more: Any) -> None:
            state["seconds"] = time.perf_counter() - state["began"]

    clock = Clock()
    steps.seconds = lambda: state["seconds"]  # type: ignore[attr-defined]
    return steps


def status(name: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(name))


def main() -> None:
    name, model, kind, data, rows, length, threads, imports = sys.argv[1:9]
    import torch

    torch.set_num_threads(int(threads))
    torch.manual_seed(0)
    if name.startswith("hf"):
        import transformers  # noqa: F401 - the interpreter and its libraries are not counted

        if name.endswith("lora"):
            import peft  # noqa: F401
    else:
        import yanmo.models.store
        import yanmo.stages.finetune  # noqa: F401
    for module in Path(imports).read_text().split():
        with suppress(Exception):  # some can only be imported by others
            importlib.import_module(module)
    known = set(sys.modules)
    before = status("VmRSS:")
    make = huggingface if name.startswith("hf") else ours
    steps = make(name.endswith("lora"), model, kind, data, int(rows), int(length))
    steps(1)
    Path("/proc/self/clear_refs").write_text("5")  # the peak of the opening is not that of the training
    print(json.dumps({"ready": name, "imported": sorted(set(sys.modules) - known)}), flush=True)
    for line in sys.stdin:
        started = time.perf_counter()
        done = steps(int(line))
        seconds = getattr(steps, "seconds", lambda began=started: time.perf_counter() - began)()
        print(json.dumps({"seconds": seconds, "rows": done, "memory": status("VmHWM:") - before}), flush=True)


if __name__ == "__main__":
    main()
