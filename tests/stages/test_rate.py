"""The learning rate that fine-tuning takes by itself: by what is trained, and said."""

import json
from pathlib import Path

import pytest
import torch

from tests.inference.tiny import tokenizer
from yanmo.core import files
from yanmo.core.console import Console
from yanmo.core.execute import execute
from yanmo.core.recipe import load
from yanmo.models.lora import Lora
from yanmo.models.recurrent import LstmModel
from yanmo.models.soft_prompt import PromptTuning
from yanmo.models.store import save
from yanmo.models.transformer import TransformerModel
from yanmo.stages.tuning.rate import default

ROWS = [{"text": f"{word} {n}", "label": label} for n in range(4) for word, label in (("light 💡", "on"), ("灯", "on"), ("music", "off"), ("音乐", "off"))]
TASK = "{type: classify, path: {train: rows.jsonl}, validation: 0, test: 0}"


@pytest.mark.parametrize(("width", "full", "lora"), [(32, 1e-3, 1e-3), (128, 3e-4, 1e-3), (384, 1e-4, 1e-3), (768, 5e-5, 5e-4), (1024, 3.7e-5, 3.7e-4), (4096, 9.4e-6, 9.4e-5)])
def test_rates_of_published_widths(width, full, lora):
    assert default(True, width) == pytest.approx(full, rel=0.03)
    assert default(True, width, Lora()) == pytest.approx(lora, rel=0.03)
    assert default(False, width) == default(False, width, Lora()) == default(True, width, PromptTuning()) == 1e-3


class Said(Console):
    def __init__(self):
        super().__init__(quiet=True)
        self.lines = []

    def log(self, line):
        self.lines.append(str(line))


def tuned(stages):
    Path("rows.jsonl").write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in ROWS), encoding="utf-8")
    Path("corpus.jsonl").write_text("".join(json.dumps({"text": row["text"]}, ensure_ascii=False) + "\n" for row in ROWS), encoding="utf-8")
    Path("r.yaml").write_text("name: r\nstages:\n" + stages, encoding="utf-8")
    console = Said()
    execute(load(Path("r.yaml"), []), "run", console=console, force=True)
    told = files.read_json(Path("run/finetune/training.json"))
    [line] = [line for line in console.lines if "learning rate" in line]
    return told["optimizer"]["lr"], line


def kept(part, place="model"):
    rng = torch.Generator().manual_seed(0)
    save(place, part.build(tokenizer(), rng), tokenizer())


WIDE = TransformerModel(architecture="encoder", depth=1, width=96, heads=2, context=32)


def test_an_encoder_from_elsewhere_learns_slowly(folder):
    kept(WIDE)
    rate, line = tuned(f"  - finetune: {{model: model, task: {TASK}, train: {{steps: 1}}}}\n")
    assert rate == default(True, 96) == 4e-4
    assert line == "finetune: learning rate 0.0004, chosen for such a model (train.optim.lr sets another)"


def test_what_the_recipe_has_is_taken(folder):
    kept(WIDE)
    rate, line = tuned(f"  - finetune: {{model: model, task: {TASK}, train: {{steps: 1, optim: {{type: adamw, lr: 0.002}}}}}}\n")
    assert rate == 0.002
    assert "as the recipe has it" in line


def test_an_optimizer_without_a_rate_gets_the_same(folder):
    kept(WIDE)
    assert tuned(f"  - finetune: {{model: model, task: {TASK}, train: {{steps: 1, optim: {{type: adamw, weight_decay: 0.0}}}}}}\n")[0] == 4e-4


def test_an_lstm_from_elsewhere_learns_as_ever(folder):
    kept(LstmModel(depth=1, width=96))
    assert tuned(f"  - finetune: {{model: model, task: {TASK}, train: {{steps: 1}}}}\n")[0] == 1e-3


def test_what_begins_or_was_trained_in_the_run_learns_fast(folder):
    first = "  - corpus: {source: {type: jsonl, path: corpus.jsonl}, validation: 0}\n  - tokenizer: {type: characters, min_count: 1}\n"
    small = "{type: transformer, depth: 1, width: 96, heads: 2}"
    assert tuned(first + f"  - finetune: {{model: {small}, task: {TASK}, train: {{steps: 1}}}}\n")[0] == 1e-3
    pretrain = f"  - pretrain: {{model: {small}, objective: {{type: causal, context: 16}}, train: {{steps: 1, batch_tokens: 64}}}}\n"
    Path("run").rename("before")
    assert tuned(first + pretrain + f"  - finetune: {{task: {TASK}, train: {{steps: 1}}}}\n")[0] == 1e-3
