"""Fine-tuning with an adapter: what is trained, what is saved, and that a kill costs nothing."""

import json
from pathlib import Path

import pytest
import torch

from tests.stages.test_finetune import TASK, accuracy, pretrain, run, write
from yanmo.core import files
from yanmo.core.errors import RequestError
from yanmo.models import peft
from yanmo.models.base import Inputs
from yanmo.models.soft_prompt import Prompted
from yanmo.models.store import load, resolve

TRAIN = "{epochs: 30, optim: {type: adamw, lr: 0.03, weight_decay: 0}}"
LORA = "{type: lora, rank: 4, targets: all}"


def given(model, ids=(1, 5, 6, 7)):
    with torch.no_grad():
        found = model(Inputs(torch.tensor([list(ids)])))
    return getattr(found, "logits", found)


def test_a_classifier_by_lora(folder, capsys):
    made = run(write(folder, f"{{adapter: {LORA}, task: {TASK}, train: {TRAIN}}}", before=pretrain("transformer")))
    assert accuracy(made) > 0.9
    told = files.read_json(made / "training.json")
    assert 0 < told["trained_parameters"] < 0.6 * told["parameters"]
    base, whole = load(made.parent / "pretrain").model, load(made)
    assert torch.equal(whole.model.backbone.embedding.weight, base.embedding.weight)
    assert not torch.equal(whole.model.backbone.stack.blocks[0].attention.qkv.weight, base.stack.blocks[0].attention.qkv.weight)
    alone = load(made / "adapter")
    assert alone.labels == whole.labels == ["light", "music"]
    torch.testing.assert_close(given(alone.model), given(whole.model), rtol=1e-4, atol=1e-5)
    config = json.loads((made / "adapter" / "adapter_config.json").read_text())
    assert config["base_model_name_or_path"] == "../../pretrain/model"
    assert whole.config["yanmo"]["adapter"]["rank"] == 4
    stored = peft._tensors(made / "adapter")
    checkpoint = next((made / "checkpoints").glob("step-*")) / "model.safetensors"
    assert checkpoint.stat().st_size < 2 * sum(4 * tensor.numel() for tensor in stored.values())  # the base is not in it


def test_a_soft_prompt_is_opened_from_its_own_folder(folder):
    made = run(write(folder, f"{{adapter: {{type: prompt, tokens: 6}}, task: {TASK}, train: {{epochs: 8, optim: {{type: adamw, lr: 0.1}}}}}}",
                     before=pretrain("transformer")))  # fmt: skip
    assert resolve(made) == made / "adapter"
    opened = load(made)
    assert isinstance(opened.model.backbone, Prompted)
    assert opened.labels == ["light", "music"]
    assert accuracy(made) > 0.6
    assert resolve(made.parent) == made / "adapter"


def test_two_runs_have_the_same_bytes_and_a_base_in_four_bits(folder):
    recipe = write(folder, f"{{adapter: {{type: lora, base: nf4, dora: true}}, task: {TASK}, train: {{steps: 2}}}}", before=pretrain("transformer"))
    first, second = run(recipe, directory="runs/a"), run(recipe, directory="runs/b")
    for name in ("model/model.safetensors", "adapter/adapter_model.safetensors", "adapter/adapter_config.json", "training.json"):
        assert (first / name).read_bytes() == (second / name).read_bytes()


def test_a_base_outside_of_the_run_is_named_as_the_recipe_does(folder):
    first = run(write(folder, f"{{task: {TASK}, train: {{steps: 1}}}}", before=pretrain("transformer")))
    (folder / "alone.yaml").write_text(
        f"name: alone\nstages:\n  - finetune: {{model: {first.parent / 'pretrain'}, adapter: {LORA}, task: {TASK}, train: {{steps: 2}}}}\n", encoding="utf-8"
    )
    made = run(folder / "alone.yaml", directory="runs/alone")
    config = json.loads((made / "adapter" / "adapter_config.json").read_text())
    assert config["base_model_name_or_path"] == (first.parent / "pretrain").as_posix()
    assert load(made / "adapter").labels == ["light", "music"]


def test_nothing_to_stand_beside(folder):
    recipe = write(folder, f"{{model: {{type: transformer, depth: 2, width: 32, heads: 2}}, adapter: {LORA}, task: {TASK}}}")
    with pytest.raises(RequestError, match=r"finetune.adapter: expected a model that was trained before, beside which an adapter learns"):
        run(recipe)
    assert not Path("runs/r/finetune/model").exists()
