"""One contestant of benchmarks/train.py, alive in a process of its own; it trains when told to and is silent otherwise.

    python contestant.py NAME eager|compiled THREADS      on stdin: a number of steps a line; on stdout: JSON lines

Everyone trains a decoder of as many matrix products (6 layers, width 384, 6 heads; 8 · width² in each layer's network behind
attention, as SwiGLU of 1024 or an ordinary one of 1536; a head of 8192) on the same random tokens: forward, loss, backward,
clipping at norm 1, fused AdamW, in float32. nanoGPT and nanochat are no packages: CLONES names a folder with clones of both.
Files of a peer's environment are imported only for that peer.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from typing import Any

LAYERS, WIDTH, HEADS, HIDDEN, VOCABULARY, CONTEXT, ROWS = 6, 384, 6, 1024, 8192, 256, 16
TOKENS = ROWS * CONTEXT
# Weights that a token is multiplied with: q k v o, gate up down, head.
MATRIX = LAYERS * (4 * WIDTH * WIDTH + 3 * WIDTH * HIDDEN) + WIDTH * VOCABULARY
# Floating-point operations of a step: 6 a weight and token (2 forward, 4 backward), and 12 · layers · width · context a
# token for attention's products (Chowdhery et al. 2022, appendix B).
FLOPS = TOKENS * (6 * MATRIX + 12 * LAYERS * WIDTH * CONTEXT)

Step = Callable[[Any, Any], float]


def random_tokens(torch: Any, seed: int) -> tuple[Any, Any]:
    rng = torch.Generator().manual_seed(seed)
    rows = torch.randint(4, VOCABULARY, (ROWS, CONTEXT + 1), generator=rng)
    return rows[:, :-1].contiguous(), rows[:, 1:].contiguous()


def plain_loop(model: Any, loss_of: Callable[[Any, Any, Any], Any]) -> Step:
    """What a careful user of the peer writes."""
    import torch

    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, betas=(0.9, 0.95), weight_decay=0.1, fused=True)

    def step(inputs: Any, targets: Any) -> float:
        loss = loss_of(model, inputs, targets)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        return float(loss.detach())

    return step


def litgpt(compiled: bool) -> tuple[Step, int]:
    import torch
    from litgpt import Config
    from litgpt.model import GPT
    from litgpt.utils import chunked_cross_entropy

    model = GPT(Config(
        name="peer", block_size=CONTEXT, vocab_size=VOCABULARY, padded_vocab_size=VOCABULARY, n_layer=LAYERS, n_head=HEADS,
        n_embd=WIDTH, rotary_percentage=1.0, parallel_residual=False, bias=False, norm_class_name="RMSNorm",
        mlp_class_name="LLaMAMLP", intermediate_size=HIDDEN,
    ))  # fmt: skip
    running = torch.compile(model) if compiled else model
    step = plain_loop(model, lambda _, x, y: chunked_cross_entropy(running(x), y, chunk_size=0))
    return step, parameters(model)


def transformers(compiled: bool) -> tuple[Step, int]:
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    model = LlamaForCausalLM(LlamaConfig(
        vocab_size=VOCABULARY, hidden_size=WIDTH, intermediate_size=HIDDEN, num_hidden_layers=LAYERS,
        num_attention_heads=HEADS, num_key_value_heads=HEADS, max_position_embeddings=CONTEXT, tie_word_embeddings=False,
        use_cache=False, attn_implementation="sdpa",
    ))  # fmt: skip
    running = torch.compile(model) if compiled else model
    cross_entropy = torch.nn.functional.cross_entropy
    step = plain_loop(model, lambda _, x, y: cross_entropy(running(input_ids=x).logits.flatten(0, 1), y.flatten()))
    return step, parameters(model)


def trainer(compiled: bool) -> tuple[Step, int]:
    """Hugging Face's Trainer at work on transformers' Llama; it is held between two steps until it is asked for more."""
    import tempfile
    import threading
    from queue import Queue

    import torch
    from transformers import LlamaConfig, LlamaForCausalLM, Trainer, TrainerCallback, TrainingArguments

    model = LlamaForCausalLM(LlamaConfig(
        vocab_size=VOCABULARY, hidden_size=WIDTH, intermediate_size=HIDDEN, num_hidden_layers=LAYERS,
        num_attention_heads=HEADS, num_key_value_heads=HEADS, max_position_embeddings=CONTEXT, tie_word_embeddings=False,
        use_cache=False, attn_implementation="sdpa",
    ))  # fmt: skip
    asked: Queue[bool] = Queue()
    done: Queue[float] = Queue()

    class Held(TrainerCallback):
        def on_step_begin(self, *given: Any, **more: Any) -> None:
            asked.get()

        def on_step_end(self, *given: Any, **more: Any) -> None:
            done.put(0.0)

    class Rows(torch.utils.data.Dataset):
        def __init__(self) -> None:
            self.rows = torch.cat([random_tokens(torch, seed)[0] for seed in range(8)])

        def __len__(self) -> int:
            return 1 << 20

        def __getitem__(self, index: int) -> dict[str, Any]:
            row = self.rows[index % len(self.rows)]
            return {"input_ids": row, "labels": row}

    arguments = TrainingArguments(
        output_dir=tempfile.mkdtemp(), per_device_train_batch_size=ROWS, max_steps=1 << 16, use_cpu=True, report_to=[],
        optim="adamw_torch_fused", learning_rate=1e-3, adam_beta2=0.95, weight_decay=0.1, max_grad_norm=1.0,
        lr_scheduler_type="constant", logging_strategy="no", save_strategy="no", disable_tqdm=True, torch_compile=compiled,
    )  # fmt: skip
    running = Trainer(model=model, args=arguments, train_dataset=Rows(), callbacks=[Held()])
    threading.Thread(target=running.train, daemon=True).start()

    def step(_: Any, __: Any) -> float:
        asked.put(True)
        return done.get()

    return step, parameters(model)


def nanogpt(compiled: bool) -> tuple[Step, int]:
    import torch

    sys.path.insert(0, clone("nanoGPT"))
    from model import GPT, GPTConfig

    model = GPT(GPTConfig(block_size=CONTEXT, vocab_size=VOCABULARY, n_layer=LAYERS, n_head=HEADS, n_embd=WIDTH, dropout=0.0,
                          bias=False))  # fmt: skip
    running = torch.compile(model) if compiled else model
    return plain_loop(model, lambda _, x, y: running(x, y)[1]), parameters(model)


def nanochat(compiled: bool) -> tuple[Step, int]:
    import torch

    sys.path.insert(0, clone("nanochat"))
    from nanochat.gpt import GPT, GPTConfig

    model = GPT(GPTConfig(sequence_len=CONTEXT, vocab_size=VOCABULARY, n_layer=LAYERS, n_head=HEADS, n_kv_head=HEADS,
                          n_embd=WIDTH, window_pattern="L"))  # fmt: skip
    model.init_weights()
    running = torch.compile(model, dynamic=False) if compiled else model
    return plain_loop(model, lambda _, x, y: running(x, y)), parameters(model)


def clone(name: str) -> str:
    import os

    return os.path.join(os.environ["CLONES"], name)


def yanmo(compiled: bool) -> tuple[Step, int]:
    from pathlib import Path

    import torch

    from yanmo.core.registry import create
    from yanmo.models.base import Inputs
    from yanmo.objectives.base import Batch
    from yanmo.train.job import Job
    from yanmo.train.step import forward_of, update

    part = create("model", {"type": "transformer", "depth": LAYERS, "width": WIDTH, "heads": HEADS,
                            "mlp_width": HIDDEN, "qk_norm": False, "tie": False})  # fmt: skip
    model = part.build(Vocabulary(), torch.Generator().manual_seed(0), context=CONTEXT)
    optimizer = create("optimizer", {"type": "adamw", "lr": 1e-3}).make(model)
    job = Job(model, create("objective", "causal"), None, optimizer, create("schedule", "constant"), 1,  # type: ignore[arg-type]
              Path("."), 0, compile=compiled)  # fmt: skip
    forward = forward_of(job)
    rng = torch.Generator().manual_seed(0)
    model.train()

    def step(inputs: Any, targets: Any) -> float:
        batch = Batch(Inputs(inputs), targets, torch.ones(targets.shape))
        return update(job, forward, [batch], rng).loss

    return step, parameters(model)


class Vocabulary:
    """All that a model asks of a tokenizer when it is built."""

    size = VOCABULARY


def matrices(compiled: bool) -> tuple[Step, int]:
    """No model: its matrix products alone, forward and both of backward, in its shapes: of the linear layers, and of plain
    attention (every position with every other)."""
    import os

    os.environ["THP_MEM_ALLOC_ENABLE"] = "1"  # on huge pages, as ours
    import torch

    shapes = [(WIDTH, 3 * WIDTH), (WIDTH, WIDTH), (WIDTH, 2 * HIDDEN), (HIDDEN, WIDTH)] * LAYERS + [(WIDTH, VOCABULARY)]
    weights = [torch.randn(out, inner) for inner, out in shapes]
    inputs = {size: torch.randn(TOKENS, size) for size in (WIDTH, HIDDEN)}
    gradients = {size: torch.randn(TOKENS, size) for size in {out for _, out in shapes}}
    heads = torch.randn(ROWS * HEADS, CONTEXT, WIDTH // HEADS)
    scores = torch.randn(ROWS * HEADS, CONTEXT, CONTEXT)

    def step(_: Any, __: Any) -> float:
        for (inner, _out), weight in zip(shapes, weights):
            torch.nn.functional.linear(inputs[inner], weight)
        for (inner, out), weight in reversed(list(zip(shapes, weights))):
            gradients[out] @ weight
            gradients[out].T @ inputs[inner]
        for _layer in range(LAYERS):
            for _product in range(2):  # of queries and keys: forward, and the values' gradient into the scores
                torch.bmm(heads, heads.mT)
            for _product in range(4):  # of scores and values: forward, and the gradients of values, queries and keys
                torch.bmm(scores, heads)
        return 0.0

    return step, MATRIX


def parameters(model: Any) -> int:
    return sum(p.numel() for p in model.parameters())


CONTESTANTS = {"yanmo": yanmo, "litgpt": litgpt, "transformers": transformers, "trainer": trainer, "nanogpt": nanogpt,
               "nanochat": nanochat, "matrices": matrices}  # fmt: skip


def main() -> None:
    name, mode, threads = sys.argv[1], sys.argv[2], int(sys.argv[3])
    import torch

    torch.set_num_threads(threads)
    torch.manual_seed(0)
    started = time.perf_counter()
    step, size = CONTESTANTS[name](mode == "compiled")
    data = [random_tokens(torch, seed) for seed in range(8)]
    first = [step(*data[0]), step(*data[1])]  # compiles, and fills the caches of the allocator
    print(json.dumps({"parameters": size, "seconds": time.perf_counter() - started, "losses": first}), flush=True)
    for line in sys.stdin:
        count = int(line)
        started = time.perf_counter()
        for index in range(count):
            step(*data[index % len(data)])
        print(json.dumps({"seconds": time.perf_counter() - started}), flush=True)


if __name__ == "__main__":
    main()
