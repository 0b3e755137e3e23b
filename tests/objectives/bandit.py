"""A bandit over tokens: two prompts, English and Chinese, each answered by one token, so that every optimum is known."""

from __future__ import annotations

import copy
from functools import cache

import torch

from yanmo.core.data import Example, Row
from yanmo.core.registry import create
from yanmo.inference.rollouts import generator
from yanmo.models.base import Inputs
from yanmo.objectives.base import Context
from yanmo.objectives.preferences import Preferring
from yanmo.tasks.conversation import answer_ids, prompt_ids
from yanmo.text.characters import CharacterTokenizer
from yanmo.train.prompts import PromptBatches

PROMPTS = ["Which?", "哪个？"]
ARMS = ["a", "墨", "🐋"]


@cache
def tokenizer():
    return CharacterTokenizer(min_count=1).train([*PROMPTS, "".join(ARMS)])


@cache
def _begun(seed, width):
    """A small decoder that answers each prompt by one of the arms, the first one rarely."""
    part = create("model", {"type": "transformer", "depth": 1, "width": width, "heads": 2, "tie": False})
    made = part.build(tokenizer(), torch.Generator().manual_seed(seed), 24)
    rows = [text_row(prompt, arm) for prompt in PROMPTS for arm, times in zip(ARMS, (1, 2, 2 + seed % 3)) for _ in range(times)]
    objective = create("objective", "causal").bind(Context(tokenizer()))
    batch = objective.collate(rows, torch.Generator())
    descend(made, lambda step, rng: [batch], objective, 50, 0.02)
    return made


def model(seed=0, width=32):
    """One that begins with `seed`; a copy of one's own."""
    return copy.deepcopy(_begun(seed, width))


def example(number: int) -> Example:
    prompt = PROMPTS[number % len(PROMPTS)]
    return Example(f"e{number}", {"text": prompt, "prompt": prompt, "answer": ARMS[0]}, f"prompts.jsonl:{number + 1}")


def prompt_rows(count: int = 2) -> list[Row]:
    return [Row(prompt_ids(PROMPTS[i % 2], tokenizer()), label=example(i), example=f"e{i}") for i in range(count)]


def text_row(prompt: str, answer: str) -> Row:
    begun, written = prompt_ids(prompt, tokenizer()), answer_ids(prompt, answer, tokenizer())
    return Row([*begun, *written], [False] * len(begun) + [True] * len(written), example=f"{prompt}{answer}")


@torch.no_grad()
def probabilities(made, prompt: str, answers=ARMS, end=True) -> torch.Tensor:
    """(len(answers),) of each answer with its end (or its first token alone), brought to the sum 1 with `end`."""
    found = []
    for answer in answers:
        row = text_row(prompt, answer)
        logs = made(Inputs(torch.tensor([row.tokens[:-1]]))).logits[0].log_softmax(-1)
        begin = row.trained.index(True)
        places = range(begin, len(row.tokens) if end else begin + 1)
        found.append(sum(float(logs[i - 1, row.tokens[i]]) for i in places))
    given = torch.tensor(found, dtype=torch.float64).exp()
    return given / given.sum() if end else given


def bound(settings: dict, reward=None, reference=None, folder=None):
    made = create("objective", settings)
    models = {} if reference is None else {"reference": reference}
    context = Context(tokenizer(), models=models, generate=generator(tokenizer()), reward=reward, folder=folder)
    return made.bind(context)


def pairs(objective: Preferring, wins: dict[tuple[str, str], int]) -> list[Row]:
    """`wins`: (chosen, rejected) → how often, for each prompt."""
    texts = [(text_row(prompt, chosen), text_row(prompt, rejected))
             for prompt in PROMPTS for (chosen, rejected), count in wins.items() for _ in range(count)]  # fmt: skip
    return objective.rows(texts)


def descend(made, batches, objective, steps: int, lr: float, seed=0):
    """Plain steps of AdamW; `batches(step, rng)` gives a step's batch. Gives each step's mean figures."""
    optimizer = torch.optim.AdamW(made.parameters(), lr=lr, weight_decay=0.0)
    figures = []
    made.train()
    for step in range(steps):
        rng = torch.Generator().manual_seed(seed * 100_003 + step)
        parts = [part for batch in batches(step, rng) for part in objective.expand(made, batch, rng)]
        weight = sum(part.weight for part in parts)
        sums: dict[str, tuple[float, float]] = {}
        for part in parts:
            loss = objective.loss(made, part)
            (loss.total / weight).backward()
            for name, (amount, count) in loss.metrics.items():
                had = sums.get(name, (0.0, 0.0))
                sums[name] = (had[0] + float(amount), had[1] + float(count))
        optimizer.step()
        optimizer.zero_grad()
        figures.append({name: amount / count for name, (amount, count) in sums.items()})
    made.eval()
    return figures


def roll(made, objective, steps: int, lr: float, seed=0, rows=None):
    """The same on the model's own answers, prompts taken as in a training."""
    given = PromptBatches(rows or prompt_rows(), objective, 0, seed)
    return descend(made, lambda step, rng: given.take((0, step), rng)[0], objective, steps, lr, seed)


def arms(values: dict[str, float], other: float = 0.0):
    """A reward that knows what each answer is worth."""
    return lambda examples, answers: [values.get(answer, other) for answer in answers]
