"""ln p of continuations: as one pass says, whatever the batch; cut and windowed where the model is too short; greedy or not."""

from __future__ import annotations

import pytest
import torch

from tests.inference.tiny import KINDS, TEXTS, model, tokenizer
from yanmo.inference.continuations import pair_ids, score_pairs
from yanmo.models.base import Inputs

TOK = tokenizer()
PAIRS = [("The ink is", " black and smooth"), ("床前", "明月光，"), ("Once upon a", " time"), ("春眠不觉", "xyz"), ("", "研墨"),
         ("The ink is", " red 🙂 e\u0301"), ("The ink is", " "), ("ends in a blank ", "naïve"), ("床前", "明")]  # fmt: skip


def by_hand(kind: str, context: list[int], continuation: list[int]) -> tuple[float, bool]:
    ids = torch.tensor([[*context, *continuation][:-1]])
    with torch.no_grad():
        logprobs = model(kind)(Inputs(ids)).logits[0].float().log_softmax(-1)[len(context) - 1 :]
    wanted = torch.tensor(continuation)
    return logprobs.gather(-1, wanted[:, None]).sum().item(), bool((logprobs.argmax(-1) == wanted).all())


@pytest.mark.parametrize("kind", KINDS)
def test_as_one_pass_says_and_independent_of_batch_and_padding(kind):
    pairs = [pair_ids(TOK, *pair) for pair in PAIRS]
    together = score_pairs(model(kind), pairs)
    for pair, found in zip(pairs, together):
        expected, greedy = by_hand(kind, *pair)
        assert found.logprob == pytest.approx(expected, abs=1e-4)
        assert (found.tokens, found.cut, found.greedy) == (len(pair[1]), 0, greedy)
    for room in (1, 20, 60):
        for one, other in zip(together, score_pairs(model(kind), pairs, batch_tokens=room)):
            assert one.logprob == pytest.approx(other.logprob, abs=1e-4)
            assert (one.tokens, one.greedy) == (other.tokens, other.greedy)
    for pair, found in zip(pairs, together):
        assert score_pairs(model(kind), [pair])[0].logprob == pytest.approx(found.logprob, abs=1e-4)


def test_what_was_learned_is_greedy_and_what_was_not_is_not():
    found = score_pairs(model("ngram"), [pair_ids(TOK, *pair) for pair in PAIRS[:5]])
    assert [one.greedy for one in found] == [True, True, True, False, False]


def test_equal_requests_are_equal_and_shared_inputs_are_read_once(monkeypatch):
    pairs = [([1, 2, 3], [token]) for token in (5, 6, 7)] + [([1, 2, 3], [5])]
    reads = []
    tiny = model("transformer")
    forward = type(tiny).forward
    monkeypatch.setattr(type(tiny), "forward", lambda self, inputs, *a, **k: reads.append(inputs.tokens.shape) or forward(self, inputs, *a, **k))
    found = score_pairs(tiny, pairs)
    assert reads == [(1, 3)]
    assert found[0] == found[3]
    assert len({one.logprob for one in found}) == 3


def test_a_context_that_is_too_long_loses_its_beginning():
    tiny = model("transformer")
    context, continuation = [9] * 20 + list(range(10, 105)), [3, 4, 5]
    [found] = score_pairs(tiny, [(context, continuation)])
    kept = context[-(tiny.context + 1 - 3) :]
    assert found.cut == len(context) - len(kept)
    assert found.logprob == pytest.approx(by_hand("transformer", kept, continuation)[0], abs=1e-4)


def test_a_continuation_longer_than_the_model_is_read_in_windows():
    tiny = model("transformer")
    continuation = [5 + i % 300 for i in range(150)]
    [found] = score_pairs(tiny, [([1, 2], continuation)])
    assert (found.tokens, found.cut) == (150, 0)
    ids, total, first = [1, 2, *continuation], 0.0, 0
    while first < len(ids) - 1:  # windows of 96 that move on by 48: each token once, in the first that reaches it
        start = max(0, -(-(first - 96) // 48) * 48 + 48) if first else 0
        end = min(start + 96, len(ids) - 1)
        with torch.no_grad():
            logprobs = tiny(Inputs(torch.tensor([ids[start:end]]))).logits[0].float().log_softmax(-1)
        total += sum(logprobs[at - start, ids[at + 1]].item() for at in range(max(first, 1), end))
        first = end
    assert found.logprob == pytest.approx(total, abs=1e-3)


@pytest.mark.parametrize("text", TEXTS)
def test_a_text_cut_anywhere_is_read_whole(text):
    for at in range(len(text)):
        context, continuation = pair_ids(TOK, text[:at], text[at:])
        assert context[0] == TOK.bos_id
        assert continuation
        assert TOK.decode([*context[1:], *continuation]) == text


def test_a_token_over_the_seam_belongs_to_the_continuation():
    token = next(token for token in range(TOK.size) if TOK.decode([token]).isalpha() and len(TOK.decode([token])) > 1)
    whole = TOK.decode([token])
    assert pair_ids(TOK, whole[:-1], whole[-1]) == ([TOK.bos_id], [token])
