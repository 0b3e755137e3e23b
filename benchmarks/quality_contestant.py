"""One peer of benchmarks/quality.py: python quality_contestant.py nanochat|nanogpt FOLDER SECONDS, CLONES in the environment.

The clock starts when the process does and stands still for nothing. The peers' own models, initialisation and optimizers are
used; what lies around them (a batch of 4,096 tokens for nanochat, its schedule by the time that is gone) is ours.
Compilation is off: at this size it costs a third of the time and gives nothing back.
"""

from __future__ import annotations

# ruff: noqa: E402
import time

BEGAN = time.monotonic()

import json
import math
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

os.environ["TORCHDYNAMO_DISABLE"] = "1"


def texts(folder: Path, split: str) -> list[str]:
    with open(folder / f"{split}.jsonl", encoding="utf-8") as handle:
        return [json.loads(line)["text"] for line in handle]


def rows(stream: Any, context: int, batch: int) -> Iterator[tuple[Any, Any]]:
    """Random windows of the stream, for ever."""
    import torch

    rng = torch.Generator().manual_seed(0)
    while True:
        starts = torch.randint(len(stream) - context - 1, (batch,), generator=rng)
        windows = stream[starts[:, None] + torch.arange(context + 1)].long()
        yield windows[:, :-1].contiguous(), windows[:, 1:].contiguous()


def bits_per_byte(logits_of: Callable[[Any], Any], documents: list[list[int]], size: int, context: int) -> float:
    """Documents read from their border on, in windows that move on by half the context; every token counted once."""
    import torch

    nats = 0.0
    half = context // 2
    with torch.no_grad():
        for ids in documents:
            done = 0  # targets counted
            start = 0
            while done < len(ids) - 1:
                window = torch.tensor([ids[start : start + context + 1]])
                inputs, targets = window[:, :-1].contiguous(), window[:, 1:].contiguous()
                logits = logits_of(inputs).float().flatten(0, 1)
                losses = torch.nn.functional.cross_entropy(logits, targets.flatten(), reduction="none")
                nats += float(losses[done - start :].sum())
                done = start + targets.shape[1]
                start = done - half
    return nats / math.log(2) / size


def nanochat(folder: Path, seconds: float) -> dict[str, Any]:
    sys.path.insert(0, os.path.join(os.environ["CLONES"], "nanochat"))
    import torch
    from nanochat.gpt import GPT, GPTConfig
    from tokenizers import Regex, Tokenizer, models, pre_tokenizers, trainers

    context, batch, vocabulary = 128, 32, 2048
    split = r"'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}+|\p{N}{1,2}| ?[^\s\p{L}\p{N}]++[\r\n]*|\s*[\r\n]|\s+(?!\S)|\s+"
    tokenizer = Tokenizer(models.BPE())
    level = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.Split(Regex(split), "isolated"), level])
    train = texts(folder, "train")
    trainer = trainers.BpeTrainer(vocab_size=vocabulary, special_tokens=["<|bos|>"], show_progress=False,
                                  initial_alphabet=pre_tokenizers.ByteLevel.alphabet())  # fmt: skip
    tokenizer.train_from_iterator(train, trainer)

    def encode(documents: list[str]) -> list[list[int]]:
        return [[0, *found.ids] for found in tokenizer.encode_batch(documents)]

    stream = torch.tensor([i for ids in encode(train) for i in ids], dtype=torch.int32)
    torch.manual_seed(0)
    model = GPT(GPTConfig(sequence_len=context, vocab_size=vocabulary, n_layer=2, n_head=2, n_kv_head=2, n_embd=128,
                          window_pattern="L"))  # fmt: skip
    model.init_weights()
    optimizer = model.setup_optimizer()
    began, tokens, draw = time.monotonic(), 0, rows(stream, context, batch)
    while (now := time.monotonic()) - BEGAN < seconds:
        share = (now - began) / (seconds - (began - BEGAN))
        factor = 1.0 if share < 0.35 else max((1 - share) / 0.65, 0.05)  # its warm-down ratio and final rate
        for group in optimizer.param_groups:
            group["lr"] = group["initial_lr"] * factor
        x, y = next(draw)
        model(x, y).backward()
        optimizer.step()
        model.zero_grad(set_to_none=True)
        tokens += x.numel()
    took = time.monotonic() - BEGAN
    model.eval()
    held = texts(folder, "test")
    found = bits_per_byte(model, encode(held), sum(len(t.encode()) for t in held), context)
    return {"bits_per_byte": found, "seconds": took, "tokens": tokens, "parameters": sum(p.numel() for p in model.parameters())}


def nanogpt(folder: Path, seconds: float) -> dict[str, Any]:
    sys.path.insert(0, os.path.join(os.environ["CLONES"], "nanoGPT"))
    import torch
    from model import GPT, GPTConfig

    context, batch = 64, 12
    train, held = texts(folder, "train"), texts(folder, "test")
    characters = {character: i for i, character in enumerate(sorted(set("".join(train)) | set("".join(held))), 1)}

    def encode(documents: list[str]) -> list[list[int]]:
        return [[0, *(characters[c] for c in document)] for document in documents]

    stream = torch.tensor([i for ids in encode(train) for i in ids], dtype=torch.int32)
    torch.manual_seed(1337)
    model = GPT(GPTConfig(block_size=context, vocab_size=len(characters) + 1, n_layer=4, n_head=4, n_embd=128, dropout=0.0,
                          bias=False))  # fmt: skip
    optimizer = model.configure_optimizers(0.1, 1e-3, (0.9, 0.99), "cpu")
    began, tokens, step, draw = time.monotonic(), 0, 0, rows(stream, context, batch)
    while (now := time.monotonic()) - BEGAN < seconds:
        share = (now - began) / (seconds - (began - BEGAN))
        rate = 1e-3 * min((step + 1) / 100, 1) if step < 100 else 1e-4 + 0.5 * (1 + math.cos(math.pi * share)) * 9e-4
        for group in optimizer.param_groups:
            group["lr"] = rate
        x, y = next(draw)
        model(x, y)[1].backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        tokens, step = tokens + x.numel(), step + 1
    took = time.monotonic() - BEGAN
    model.eval()

    def logits(x: Any) -> Any:
        return model(x, x)[0]  # with targets it gives all positions

    found = bits_per_byte(logits, encode(held), sum(len(t.encode()) for t in held), context)
    return {"bits_per_byte": found, "seconds": took, "tokens": tokens, "parameters": sum(p.numel() for p in model.parameters())}


if __name__ == "__main__":
    name, folder, seconds = sys.argv[1], Path(sys.argv[2]), float(sys.argv[3])
    print(json.dumps({"nanochat": nanochat, "nanogpt": nanogpt}[name](folder, seconds)), flush=True)
