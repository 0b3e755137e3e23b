"""What a recipe leaves open: by rule without a clock, by measured speed with one."""

import time

import pytest
import torch

from yanmo.core.config import Place, build
from yanmo.core.errors import RecipeError, RequestError
from yanmo.core.registry import create
from yanmo.train.plan import decisions
from yanmo.train.plan.decisions import Case, decide, weights
from yanmo.train.plan.speed import Speed
from yanmo.train.settings import Train

VOCABULARY = 4096


def case(train=None, model=None, text_tokens=2_500_000, minutes=None, context=None, rate=2e10, calls=None):
    """A machine that computes `rate` operations a second, whatever the model (an optimizer step costs a hundredth)."""

    def probe(part, context, rows, form, compiled):
        if calls is not None:
            calls.append((part.depth, form, compiled))
        seconds = part.flops(VOCABULARY, context) * rows * context / rate
        return Speed(seconds, seconds / 100)

    settings = build(Train, train or {}, Place("pretrain.train"))
    return Case(settings, create("model", model or "transformer"), VOCABULARY, text_tokens, context, None, minutes,
                time.monotonic(), probe, "pretrain")  # fmt: skip


@pytest.fixture(autouse=True)
def threads():
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


@pytest.mark.parametrize("train", [{}, {"steps": 100}, {"tokens": 300_000}, {"epochs": 2}])
@pytest.mark.parametrize("model", ["transformer", "lstm"])
def test_without_a_clock_nothing_is_measured_and_two_plans_are_equal(train, model):
    calls = []
    first, second = (decide(case(train, model, minutes=7, calls=calls) if train else case(train, model, calls=calls)) for _ in range(2))
    assert first == second
    assert calls == []
    assert "measured" not in first


def test_what_is_given_is_what_is_planned():
    given = {"steps": 77, "batch_tokens": 4096, "micro_tokens": 1024, "validate_every": 10, "checkpoint_every": 5, "precision": "bf16",
             "compile": True, "threads": 1, "device": "cpu", "optim": {"type": "adamw", "lr": 1e-3}, "schedule": {"type": "cosine"}}  # fmt: skip
    plan = decide(case(given, {"type": "transformer", "depth": 3, "width": 96, "heads": 4}, context=128))
    assert (plan["steps"], plan["batch_tokens"], plan["rows"], plan["micro_rows"], plan["context"]) == (77, 4096, 32, 8, 128)
    assert (plan["validate_every"], plan["checkpoint_every"], plan["precision"], plan["compile"]) == (10, 5, "bf16", True)
    assert (plan["model"]["depth"], plan["model"]["width"], plan["model"]["heads"]) == (3, 96, 4)
    assert (plan["optimizer"]["type"], plan["optimizer"]["lr"], plan["schedule"]["type"]) == ("adamw", 1e-3, "cosine")
    assert (plan["threads"], plan["device"]) == (1, "cpu")


def test_a_plan_says_everything_that_the_work_needs():
    plan = decide(case({"steps": 5}))
    for name in ("model", "parameters", "context", "rows", "micro_rows", "steps", "optimizer", "schedule", "precision", "validation_tokens"):
        assert plan[name] is not None
    part = create("model", plan["model"])
    assert part.parameters(VOCABULARY) == plan["parameters"]
    assert all(value is not None for value in plan["optimizer"].values())  # learning rates are filled in


def test_tokens_and_epochs_are_the_length():
    by_tokens = decide(case({"tokens": 1_000_000}))
    assert by_tokens["steps"] * by_tokens["batch_tokens"] == pytest.approx(1_000_000, rel=0.01)
    by_epochs = decide(case({"epochs": 1.5}))
    assert by_epochs["steps"] * by_epochs["batch_tokens"] == pytest.approx(3_750_000, rel=0.01)


def test_more_time_buys_a_larger_model_that_sees_more():
    plans = [decide(case(minutes=minutes)) for minutes in (0.5, 5, 50, 500)]
    depths = [plan["model"]["depth"] for plan in plans]
    tokens = [plan["steps"] * plan["batch_tokens"] for plan in plans]
    assert depths == sorted(depths)
    assert depths[0] < depths[-1]
    assert tokens == sorted(tokens)


@pytest.mark.parametrize("minutes", [1, 10, 100])
@pytest.mark.parametrize("model", ["transformer", "lstm", {"type": "transformer", "depth": 4}])
def test_a_budget_is_kept_at_the_measured_speed(minutes, model):
    rate = 5e10
    plan = decide(case(minutes=minutes, model=model, rate=rate))
    part = create("model", plan["model"])
    train_seconds = 1.01 * plan["steps"] * plan["batch_tokens"] * part.flops(VOCABULARY, plan["context"]) / rate
    validations = plan["validation_tokens"] * 2 / 3 * -(-plan["steps"] // plan["validate_every"])
    seconds = train_seconds * (1 + validations / (plan["steps"] * plan["batch_tokens"]))
    assert 0.7 * minutes * 60 < seconds <= minutes * 60


def test_a_given_depth_is_not_changed_by_a_budget():
    calls = []
    plan = decide(case(minutes=3, model={"type": "transformer", "depth": 5}, calls=calls))
    assert plan["model"]["depth"] == 5
    assert {depth for depth, *_ in calls} == {5}


def test_a_faster_format_is_taken_and_a_slower_one_is_not(monkeypatch):
    monkeypatch.setattr(decisions.precision, "candidates", lambda device: ["fp32", "bf16"])
    for speedup, want in ((2.0, "bf16"), (1.05, "fp32"), (0.5, "fp32")):
        chosen = case(minutes=2)
        plain = chosen.probe

        def probe(part, context, rows, form, compiled, speedup=speedup, plain=plain):
            found = plain(part, context, rows, form, compiled)
            return Speed(found.micro / speedup, found.step) if form == "bf16" else found

        chosen.probe = probe
        assert decide(chosen)["precision"] == want


def test_compiling_is_tried_where_it_can_pay(monkeypatch):
    monkeypatch.setattr(decisions, "compiler", lambda: True)
    short, long = [], []
    decide(case(minutes=2, calls=short))
    decide(case(minutes=60, calls=long))
    assert not any(compiled for *_, compiled in short)
    assert any(compiled for *_, compiled in long)
    monkeypatch.setattr(decisions, "compiler", lambda: False)
    without = []
    assert decide(case(minutes=60, calls=without))["compile"] is False
    assert not any(compiled for *_, compiled in without)


def test_a_budget_of_time_gives_a_decoder_a_head_of_its_own():
    encoder, much = {"type": "transformer", "architecture": "encoder"}, 100_000_000
    assert decide(case(minutes=3, text_tokens=much))["model"]["tie"] is False
    assert decide(case(minutes=3, text_tokens=much // 1000))["model"]["tie"] is True  # the text is read too often
    assert decide(case())["model"]["tie"] is True  # by rule, weights count
    for model in ({"type": "transformer", "tie": True}, {"type": "transformer", "depth": 2}, encoder):  # as the recipe has it
        assert decide(case(minutes=3, text_tokens=much, model=model))["model"]["tie"] is True


def test_train_minutes_count_for_the_stage_whatever_the_recipes_budget():
    assert decide(case({"minutes": 1}, minutes=50))["steps"] < decide(case(minutes=50))["steps"]


def test_the_model_fits_the_text_where_nothing_is_said():
    small, large = (decide(case(text_tokens=count)) for count in (200_000, 100_000_000))
    assert small["model"]["depth"] < large["model"]["depth"]
    for plan, count in ((small, 200_000), (large, 100_000_000)):
        trained = plan["steps"] * plan["batch_tokens"]
        assert trained <= decisions.EPOCHS * count * 1.01
        assert trained <= decisions.TOKENS_A_WEIGHT * weights(create("model", plan["model"]), VOCABULARY) * 1.01


@pytest.mark.parametrize(
    ("train", "message"),
    [
        ({"steps": 0}, r"pretrain\.train\.steps: expected a number above 0, got 0"),
        ({"steps": 5, "minutes": 1}, r"pretrain\.train: expected one of steps, minutes, joules, tokens and epochs"),
        ({"batch_tokens": -1}, r"batch_tokens: expected a number above 0"),
        ({"minutes": 0}, r"minutes: expected a number above 0"),
        ({"optim": {"type": "adamw", "lr": -1}}, r"pretrain\.train\.optim\.lr: expected a number above 0.0, got -1"),
        ({"optim": "adamv"}, r"unknown optimizer 'adamv' - did you mean 'adamw'"),
        ({"stepz": 5}, r"unknown key 'stepz' - did you mean 'steps'"),
        ({"precision": "fp4"}, r"precision: expected one of 'fp32', 'bf16', 'fp16', 'fp8'"),
    ],
)
def test_settings_that_make_no_sense(train, message):
    with pytest.raises(RecipeError, match=message):
        build(Train, train, Place("pretrain.train"))


def test_a_device_that_is_not_here():
    if torch.cuda.is_available():
        pytest.skip("this machine has a CUDA device")
    with pytest.raises(RequestError, match=r"train.device: expected a CUDA device, got none here"):
        decisions.check_settings("pretrain", Train(device="cuda"), None, None)
    with pytest.raises(RequestError, match=r"train.device: expected a device such as 'cpu' or 'cuda', got gpu9"):
        decisions.check_settings("pretrain", Train(device="gpu9"), None, None)


def test_a_context_beyond_the_models():
    part = create("model", {"type": "transformer", "depth": 2, "context": 128})
    with pytest.raises(RequestError, match=r"pretrain.objective.context: expected at most the model's 128, got 256"):
        decisions.check_settings("pretrain", Train(), part, 256)
    with pytest.raises(RequestError, match=r"pretrain.train.batch_tokens: expected at least one row of 128 tokens, got 64"):
        decisions.check_settings("pretrain", Train(batch_tokens=64), part, 128)


def test_fine_tuning_by_rule_and_by_the_clock():
    by_rule = decisions.finetune(Train(), 6400, 13.0, None, time.monotonic(), lambda sizes, form: pytest.fail("nothing is measured"))
    assert by_rule["steps"] == 200 * decisions.FINETUNE_EPOCHS
    assert by_rule["validate_every"] == 200
    timed = decisions.finetune(Train(), 6400, 13.0, 1.0, time.monotonic(), lambda sizes, form: Speed(0.09, 0.01))
    assert 450 < timed["steps"] < 600
    assert decisions.finetune(Train(epochs=1), 6400, 13.0, 1.0, time.monotonic(), lambda sizes, form: Speed(9, 1))["steps"] == 200
    assert decisions.finetune(Train(steps=3), 6400, 13.0, None, time.monotonic(), lambda sizes, form: Speed(9, 1))["steps"] == 3


def test_a_fine_tuning_by_the_clock_takes_the_faster_precision(monkeypatch):
    """By measuring, where the processor computes in more than one; not for a gain that is not worth the rounding."""
    monkeypatch.setattr(decisions.precision, "candidates", lambda device: ["fp32", "bf16"])

    def plan(seconds, **train):
        asked = []

        def measure(sizes, form):
            asked.append(form)
            return Speed(seconds[form], 0.01)

        found = decisions.finetune(Train(device="cpu", **train), 6400, 13.0, 1.0, time.monotonic(), measure)
        return found["precision"], asked, found

    assert plan({"fp32": 0.09, "bf16": 0.04})[:2] == ("bf16", ["fp32", "bf16"])
    assert plan({"fp32": 0.09, "bf16": 0.085})[:2] == ("fp32", ["fp32", "bf16"])
    assert plan({"fp32": 0.09, "bf16": 0.04}, precision="fp32")[:2] == ("fp32", ["fp32"])
    slow, fast = plan({"fp32": 0.09, "bf16": 9.0})[2], plan({"fp32": 0.09, "bf16": 0.04})[2]
    assert fast["steps"] > 1.8 * slow["steps"]
    assert fast["measured"]["step_seconds"] == {"fp32": 0.1, "bf16": 0.05}
