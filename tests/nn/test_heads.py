"""The chunked head gives the values and the gradients of the plain one, for every shape of `reduce`."""

import pytest
import torch
from torch.nn import functional as F

from yanmo.nn import heads
from yanmo.nn.heads import language_head

B, T, D, V = 3, 11, 8, 29


@pytest.fixture(autouse=True)
def small_chunks(monkeypatch):
    monkeypatch.setattr(heads, "ELEMENTS", V * 4)  # 33 positions in chunks of 4


def material():
    rng = torch.Generator().manual_seed(0)
    hidden = torch.randn(B, T, D, generator=rng).requires_grad_()
    weight = torch.randn(V, D, generator=rng).requires_grad_()
    return hidden, weight, torch.randint(0, V, (B, T), generator=rng)


def surprise(targets):
    flat = targets.reshape(-1)
    return lambda logits, positions: F.cross_entropy(logits, flat[positions], reduction="none")


def weigh(each):  # every token alike, or each by its own weight
    return {"alike": lambda x: x.sum() * 0.37, "mean": torch.mean, "unlike": lambda x: (x * torch.arange(len(x))).sum()}[each]


@pytest.mark.parametrize("each", ["alike", "mean", "unlike"])
def test_values_and_gradients_are_those_of_the_plain_head(each):
    hidden, weight, targets = material()
    losses = F.cross_entropy((hidden @ weight.T).view(-1, V), targets.view(-1), reduction="none")
    want = torch.autograd.grad(weigh(each)(losses), (hidden, weight))
    _, reduced = language_head(hidden, weight, reduce=surprise(targets))
    torch.testing.assert_close(reduced, losses)
    got = torch.autograd.grad(weigh(each)(reduced), (hidden, weight))
    torch.testing.assert_close(got, want)


@pytest.mark.parametrize("softcap", [None, 2.0])
@pytest.mark.parametrize("each", ["alike", "mean", "unlike"])
def test_a_bias_has_its_gradient(each, softcap):
    hidden, weight, targets = material()
    bias = torch.randn(V, generator=torch.Generator().manual_seed(3)).requires_grad_()
    plain = (hidden @ weight.T + bias).view(-1, V)
    plain = plain if softcap is None else softcap * torch.tanh(plain / softcap)
    losses = F.cross_entropy(plain, targets.view(-1), reduction="none")
    want = torch.autograd.grad(weigh(each)(losses), (hidden, weight, bias), retain_graph=True)
    _, reduced = language_head(hidden, weight, None, surprise(targets), bias, softcap)
    torch.testing.assert_close(torch.autograd.grad(weigh(each)(reduced), (hidden, weight, bias)), want)
    logits, _ = language_head(hidden, weight, bias=bias, softcap=softcap)
    torch.testing.assert_close(logits.view(-1, V), plain)
    _, reduced = language_head(hidden.detach(), weight.detach(), None, surprise(targets), bias, softcap)
    torch.testing.assert_close(torch.autograd.grad(weigh(each)(reduced), bias)[0], want[2])


@pytest.mark.parametrize("each", ["alike", "unlike"])
def test_selected_positions_only(each):
    hidden, weight, targets = material()
    select = torch.rand(B, T, generator=torch.Generator().manual_seed(1)) < 0.4
    chosen = targets[select]
    losses = F.cross_entropy(hidden[select] @ weight.T, chosen, reduction="none")
    want = torch.autograd.grad(weigh(each)(losses), (hidden, weight))
    _, reduced = language_head(hidden, weight, select, surprise(chosen))
    torch.testing.assert_close(torch.autograd.grad(weigh(each)(reduced), (hidden, weight)), want)
    logits, nothing = language_head(hidden, weight, select)
    assert nothing is None
    torch.testing.assert_close(logits, hidden[select] @ weight.T)


def test_several_results_of_which_two_are_differentiable():
    hidden, weight, targets = material()
    flat = targets.view(-1)

    def reduce(logits, positions):
        loss = F.cross_entropy(logits, flat[positions], reduction="none")
        return {"loss": loss, "more": (logits.logsumexp(-1), [logits.argmax(-1), loss.detach()])}

    _, got = language_head(hidden, weight, reduce=reduce)
    logits = (hidden @ weight.T).view(-1, V)
    want = reduce(logits, torch.arange(B * T))
    torch.testing.assert_close(got, want)
    assert not got["more"][1][0].requires_grad
    assert not got["more"][1][1].requires_grad
    total = lambda r: r["loss"].sum() + 0.1 * r["more"][0].square().sum()  # noqa: E731
    torch.testing.assert_close(
        torch.autograd.grad(total(got), (hidden, weight)), torch.autograd.grad(total(want), (hidden, weight))
    )


def test_a_result_for_each_chunk_is_weighed_chunk_by_chunk():
    hidden, weight, targets = material()
    flat = targets.view(-1)
    reduce = lambda logits, positions: F.cross_entropy(logits, flat[positions], reduction="sum")[None]  # noqa: E731
    _, sums = language_head(hidden, weight, reduce=reduce)
    assert sums.shape == (9,)  # ⌈33 / 4⌉
    factors = torch.arange(9.0)
    losses = F.cross_entropy((hidden @ weight.T).view(-1, V), flat, reduction="none")
    want = torch.autograd.grad((losses * factors.repeat_interleave(4)[:33]).sum(), (hidden, weight))
    torch.testing.assert_close(torch.autograd.grad((sums * factors).sum(), (hidden, weight)), want)


def test_no_more_than_a_chunk_of_logits_at_a_time():
    hidden, weight, _ = material()
    seen = []
    with torch.no_grad():
        language_head(hidden, weight, reduce=lambda logits, positions: seen.append(logits.shape[0]) or positions)
    assert seen == [4] * 8 + [1]


def test_nothing_selected():
    hidden, weight, targets = material()
    _, reduced = language_head(hidden, weight, torch.zeros(B, T, dtype=torch.bool), surprise(targets[:0]))
    assert reduced.shape == (0,)
    reduced.sum().backward()
    assert not hidden.grad.any()


def test_a_reduce_with_parameters_of_its_own_is_refused():
    hidden, weight, _ = material()
    temperature = torch.ones(1, requires_grad=True)
    with pytest.raises(AssertionError, match="parameters of its own"):
        language_head(hidden, weight, reduce=lambda logits, positions: (logits / temperature).logsumexp(-1))


def test_a_frozen_head_and_a_frozen_body():
    hidden, weight, targets = material()
    for frozen, trained in ((hidden, weight), (weight, hidden)):
        frozen.requires_grad_(False)
        _, reduced = language_head(hidden, weight, reduce=surprise(targets))
        (got,) = torch.autograd.grad(reduced.sum(), trained)
        losses = F.cross_entropy((hidden @ weight.T).view(-1, V), targets.view(-1), reduction="sum")
        torch.testing.assert_close(got, torch.autograd.grad(losses, trained)[0])
        frozen.requires_grad_(True)


def test_a_frozen_head_costs_no_gradient(monkeypatch):
    """Neither room nor a product is spent on the gradient of a head that is not trained (LoRA: it would be the largest)."""
    made = []
    empty = heads._empty
    monkeypatch.setattr(heads, "_empty", lambda *given: made.append(empty(*given)) or made[-1])
    hidden, weight = torch.randn(6, 4, requires_grad=True), torch.randn(9, 4)
    targets = torch.arange(6)
    for unequal in (False, True):
        losses = heads.reduced(hidden, weight, lambda logits, at: torch.nn.functional.cross_entropy(logits, targets[at], reduction="none"))
        share = torch.arange(6.0) if unequal else torch.ones(6)
        (got,) = torch.autograd.grad((losses * share).sum(), hidden)
        plain = torch.nn.functional.cross_entropy(hidden @ weight.T, targets, reduction="none")
        torch.testing.assert_close(got, torch.autograd.grad((plain * share).sum(), hidden)[0])
    assert [[x is None for x in room] for room in made] == [[False, True, True]] * 3


def test_in_autocast_the_logits_are_float32_and_the_gradients_near():
    hidden, weight, targets = material()
    exact = torch.autograd.grad(language_head(hidden, weight, reduce=surprise(targets))[1].sum(), (hidden, weight))
    types = set()

    def reduce(logits, positions):
        types.add(logits.dtype)
        return surprise(targets)(logits, positions)

    with torch.autocast("cpu", torch.bfloat16):
        _, reduced = language_head(hidden, weight, reduce=reduce)
    got = torch.autograd.grad(reduced.sum(), (hidden, weight))
    assert types == {torch.float32}
    assert all(g.dtype == torch.float32 for g in got)
    torch.testing.assert_close(got, exact, rtol=0.05, atol=0.05)
