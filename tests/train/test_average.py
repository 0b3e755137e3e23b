"""Averages of the weights: what they are, that the model has its own again behind a look, and an exact resume."""

import pytest
import torch
from torch import nn

from yanmo.core import files
from yanmo.core.errors import RecipeError
from yanmo.core.registry import create, names
from yanmo.train.average import Averaging
from yanmo.train.job import Verdict
from yanmo.train.loop import train


def line(values):
    """An optimizer of one weight that takes these values, one a step."""
    made = torch.optim.SGD(nn.Linear(1, 1, bias=False).parameters(), lr=1.0)

    def at(step):
        with torch.no_grad():
            weight(made).fill_(values[step - 1])
        return made

    return at


def weight(optimizer):
    return optimizer.param_groups[0]["params"][0]


def mean(made, optimizer):
    return made.mean(optimizer)[weight(optimizer)].item()


def test_the_moving_average_is_the_sum_it_stands_for():
    values = [3.0, -1.0, 4.0, 1.0, 5.0, 9.0]
    made, at = create("average", {"type": "ema", "decay": 0.3}).make(3), line(values)
    wanted = values[0]
    made.follow(at(1), 1)
    for step in range(2, 7):
        made.follow(at(step), step)
        kept = min(0.3, (1 + step) / (10 + step))
        wanted = kept * wanted + (1 - kept) * values[step - 1]
        assert mean(made, at(step)) == pytest.approx(wanted)


def test_the_last_ones_are_a_plain_mean():
    values = [3.0, -1.0, 4.0, 1.0, 5.0, 9.0, 2.0]
    made, at = create("average", {"type": "last", "count": 3}).make(2), line(values)
    for step in range(1, 8):
        made.follow(at(step), step, step == 7)
    assert mean(made, at(7)) == pytest.approx((1.0 + 9.0 + 2.0) / 3)  # steps 4, 6, and 7, the end


@pytest.mark.parametrize("name", names("average"))
def test_a_look_leaves_the_model_as_it_was(name):
    made, at = create("average", name).make(1), line([1.0, 2.0, 6.0, 7.0])
    for step in range(1, 5):
        optimizer = at(step)
        made.follow(optimizer, step)
    with made.shown(optimizer):
        assert weight(optimizer).item() == pytest.approx(mean(made, optimizer))
        assert weight(optimizer).item() != 7.0
    assert weight(optimizer).item() == 7.0
    with pytest.raises(RuntimeError, match="on purpose"), made.shown(optimizer):
        raise RuntimeError("on purpose")
    assert weight(optimizer).item() == 7.0


@pytest.mark.parametrize("name", names("average"))
@pytest.mark.parametrize("rule", [torch.optim.AdamW, torch.optim.SGD])
def test_a_parameter_that_has_had_no_gradient_yet_is_no_stumbling_block(name, rule):
    """Torch's optimizers take a state that is not empty for their own; what has not moved is its own average."""
    first, second = nn.Parameter(torch.ones(2)), nn.Parameter(torch.ones(2))
    optimizer, made = rule([first, second], lr=0.1), create("average", name).make(1)
    for step in range(1, 4):
        first.grad = torch.ones(2)
        second.grad = torch.ones(2) if step == 3 else None
        optimizer.step()
        made.follow(optimizer, step)
    with made.shown(optimizer):
        assert 0.7 < first[0].item() < 1.0
        assert 0.8 < second[0].item() <= 1.0


def averaged(job, name, average, **settings):
    """A job whose validation writes down what weights it was shown."""
    made = job(name, average=create("average", average).make(4), validate_every=4, checkpoint_every=2, keep=9, **settings)
    seen, fresh = [], [p.detach().clone() for p in made.model.parameters()]

    def validate():
        """The further from where it began, the better: so the last is the best, in a resumed run too."""
        seen.append(sum(float(p.detach().double().abs().sum()) for p in made.model.parameters()))
        way = sum(float((p.detach() - q).square().sum()) for p, q in zip(made.model.parameters(), fresh))
        return Verdict((-way,), {"way": way})

    made.validate = validate
    return made, seen


@pytest.mark.parametrize("average", [{"type": "ema", "decay": 0.8}, {"type": "last", "count": 2, "every": 1}])
def test_what_is_validated_and_kept_is_the_average_and_training_does_not_feel_it(average, job, weights):
    plain = job("plain", steps=8)
    train(plain)
    made, seen = averaged(job, "averaged", average)
    train(made)
    kept = weights(made.model)
    assert any(not torch.equal(kept[n], value) for n, value in weights(plain.model).items())
    assert seen[-1] == pytest.approx(sum(float(p.detach().double().abs().sum()) for p in made.model.parameters()))
    for parameter, value in made.average.mean(made.optimizer).items():
        assert torch.equal(value, parameter)
    losses = [[e["loss"] for e in _lines(j)] for j in (plain, made)]
    assert losses[0] == losses[1]


@pytest.mark.parametrize("average", [{"type": "ema", "decay": 0.8}, {"type": "last", "count": 3, "every": 1}])
@pytest.mark.parametrize("cut", [2, 4, 6, 8])
def test_a_run_cut_anywhere_ends_with_the_same_average(average, cut, job, weights):
    whole, seen = averaged(job, "whole", average)
    train(whole)
    first, _ = averaged(job, "cut", average)
    train(first)
    for step in range(cut + 2, 10, 2):
        files.remove(first.folder / "checkpoints" / f"step-{step:08d}")
    again, resumed = averaged(job, "cut", average)
    train(again)
    for name, value in weights(whole.model).items():
        assert torch.equal(value, again.model.state_dict()[name]), name
    assert resumed == seen[len(seen) - len(resumed) :]


def test_the_best_average_is_kept_not_the_last(job, weights):
    made, _ = averaged(job, "best", {"type": "ema", "decay": 0.8})
    at = []

    def validate():
        at.append(weights(made.model))
        return Verdict((float(len(at)),), {"rank": float(len(at))})  # the first is the best

    made.validate = validate
    state = train(made)
    assert state.best_step == 4
    for name, value in at[0].items():
        assert torch.equal(value, made.model.state_dict()[name])


def test_none_is_the_weights_themselves():
    optimizer = line([2.0])(1)
    with Averaging().shown(optimizer):
        assert weight(optimizer).item() == 2.0
    assert not optimizer.state


@pytest.mark.parametrize(("settings", "said"), [
    ({"type": "ema", "decay": 1.0}, "decay: expected a number below 1"),
    ({"type": "ema", "decay": -0.5}, "decay: expected a number above 0"),
    ({"type": "last", "count": 1}, "count: expected a number of at least 2"),
    ({"type": "last", "every": 0}, "every: expected a number above 0"),
    ({"type": "swa"}, "unknown average 'swa'"),
])  # fmt: skip
def test_settings_that_make_no_sense(settings, said):
    with pytest.raises(RecipeError, match=said):
        create("average", settings)


def _lines(job):
    from yanmo.train.records.metrics import read

    return [entry for entry in read(job.folder / "metrics.jsonl") if "loss" in entry]
