"""Continuous batching: whoever shares the engine, a request gets what it gets alone."""

from __future__ import annotations

import pytest
import torch

from tests.inference.tiny import KINDS, RECURRENT, TEXTS, model, tokenizer
from yanmo.core.errors import RequestError, WorkError
from yanmo.inference.engine import Engine, Request, gather
from yanmo.inference.sampling import sampling
from yanmo.models.base import Inputs

TOK = tokenizer()
BORDER = TOK.eos_id


def prompt(text: str) -> list[int]:
    return [BORDER, *TOK.encode(text)]


def requests() -> list[Request]:
    kinds = [("The ink", {"temperature": 0.0, "max_tokens": 25}), ("研墨", {"temperature": 1.0, "seed": 1, "max_tokens": 30}),
             ("春眠不觉晓，", {"temperature": 0.7, "seed": 2, "top_p": 0.9, "max_tokens": 9}), ("", {"temperature": 1.3, "seed": 3, "max_tokens": 17}),
             (TEXTS[0][:60], {"temperature": 0.0, "max_tokens": 12, "ignore_eos": True}), ("He wrote by", {"temperature": 1.0, "seed": 4, "top_k": 20}),
             ("🙂", {"temperature": 1.0, "seed": 1, "max_tokens": 1}), ("床前明月光", {"temperature": 0.9, "seed": 5, "stop": ["。", "the"]})]  # fmt: skip
    return [Request(prompt(text), sampling(**{"max_tokens": 40, "logprobs": 2, **kind})) for text, kind in kinds]


def alone(kind: str) -> list:
    return [Engine(model(kind), TOK, slots=1).complete([request])[0] for request in requests()]


@pytest.fixture(scope="module", params=dict.fromkeys([*KINDS, *RECURRENT]))
def kind(request):
    return request.param


@pytest.fixture(scope="module")
def expected(kind):
    return alone(kind)


@pytest.mark.parametrize(("slots", "chunk"), [(1, 512), (2, 512), (3, 5), (4, 1), (8, 512), (8, 7)])
def test_a_request_gets_the_same_alone_and_in_company(kind, expected, slots, chunk):
    found = Engine(model(kind), TOK, slots=slots, chunk=chunk).complete(requests())
    assert [c.ids for c in found] == [c.ids for c in expected]
    assert [(c.text, c.finish) for c in found] == [(c.text, c.finish) for c in expected]
    for a, b in zip(found, expected):
        for x, y in zip(a.tokens, b.tokens):
            assert abs(x.logprob - y.logprob) < 1e-4
    assert any(len(c.ids) > 5 for c in expected)


def test_requests_join_and_leave_while_others_run(kind, expected):
    engine, todo = Engine(model(kind), TOK, slots=3, chunk=4), requests()
    tickets, events = [], []
    step = 0
    while todo or engine.busy:
        if todo and step % 3 == 0:
            tickets.append(engine.submit(todo.pop(0)))
        events += engine.step()
        step += 1
    found = [gather(e for e in events if e.ticket is ticket) for ticket in tickets]
    assert [c.ids for c in found] == [c.ids for c in expected]
    assert [sum(1 for e in events if e.ticket is t and e.finish) for t in tickets] == [1] * len(tickets)


def test_every_step_gives_each_running_row_one_token_while_a_long_prompt_is_read(kind):
    engine = Engine(model(kind), TOK, slots=2, chunk=4)
    short = engine.submit(Request(prompt("a"), sampling(max_tokens=30, ignore_eos=True, temperature=0.0)))
    engine.step()
    long = engine.submit(Request([281] * 48, sampling(max_tokens=2, temperature=0.0)))
    given = len(short.tokens)
    for _ in range(11):
        engine.step()
        given += 1
        assert len(short.tokens) == given
        assert not long.tokens
    engine.step()
    assert long.tokens


def test_a_cancelled_request_frees_its_slot_and_changes_nothing_for_others(kind, expected):
    engine, wanted = Engine(model(kind), TOK, slots=2), requests()
    first, second, third, waiting = (engine.submit(wanted[i]) for i in (0, 1, 5, 3))
    events = engine.step() + engine.step()
    engine.cancel(first)  # slot 0 of two: the other row moves
    engine.cancel(waiting)  # never ran
    assert len(engine.running) == 1
    while engine.busy:
        events += engine.step()
    assert [gather(e for e in events if e.ticket is t).ids for t in (second, third)] == [expected[1].ids, expected[5].ids]
    assert not waiting.tokens
    engine.cancel(second)  # over already
    assert second.finish != "cancelled"
    assert (first.finish, waiting.finish) == ("cancelled", "cancelled")


def test_leaving_a_stream_cancels_it_and_streams_may_be_read_in_turn(kind, expected):
    engine, wanted = Engine(model(kind), TOK, slots=4), requests()
    streams = [engine.stream(engine.submit(request)) for request in (wanted[0], wanted[1])]
    left = engine.stream(engine.submit(wanted[5]))
    next(left)
    found = [[], []]
    for _ in range(100):
        for place, stream in zip(found, streams):
            place += [event for event in [next(stream, None)] if event]
    left.close()
    assert [gather(events).ids for events in found] == [expected[0].ids, expected[1].ids]
    assert not engine.busy


def test_a_used_slot_is_as_good_as_a_new_one(kind, expected):
    engine = Engine(model(kind), TOK, slots=2)
    for _ in range(3):
        assert [c.ids for c in engine.complete(requests())] == [c.ids for c in expected]


# ---------------------------------------------------------------------------------------------------- the context


@pytest.mark.parametrize(
    ("size", "max_tokens", "made"), [(94, None, 3), (95, 10, 2), (95, 1, 1), (96, None, 1), (40, None, 57), (1, 500, 96)]
)
def test_generation_ends_where_the_context_is_full(size, max_tokens, made):
    request = Request([5] * size, sampling(max_tokens=max_tokens, temperature=0.0, ignore_eos=True))
    [found] = Engine(model("transformer"), TOK).complete([request])
    assert (len(found.ids), found.finish) == (made, "length")


@pytest.mark.parametrize("size", [97, 500])
def test_a_prompt_longer_than_the_context_is_refused_with_both_counts(size):
    engine = Engine(model("transformer"), TOK)
    with pytest.raises(RequestError, match=rf"at most 96 tokens.*got {size} tokens"):
        engine.submit(Request([5] * size, sampling()))
    assert not engine.busy


@pytest.mark.parametrize("ids", [[], [-1], [400], [3, 10**9]])
def test_ids_that_no_vocabulary_has_are_refused(ids):
    with pytest.raises(RequestError):
        Engine(model("ngram"), TOK).submit(Request(ids, sampling()))


@pytest.mark.parametrize("kind", ["ngram", *RECURRENT])
def test_models_without_a_context_go_on_past_any_length(kind):
    request = Request(prompt("ink " * 300), sampling(max_tokens=300, temperature=1.0, seed=0, ignore_eos=True))
    [found] = Engine(model(kind), TOK, chunk=100).complete([request])
    assert len(found.ids) == 300


# ---------------------------------------------------------------------------------------------------- ends


def test_the_end_tokens_end_an_answer_unless_ignored(kind):
    ends = {TOK.special["<|endoftext|>"], TOK.special["<|im_end|>"]}
    endings = []
    for seed in range(12):
        request = Request(prompt(TEXTS[0][:-1]), sampling(seed=seed, max_tokens=40, temperature=1.5))
        [found] = Engine(model(kind), TOK).complete([request])
        assert not ends & set(found.ids[:-1])
        assert (found.finish == "stop") == (found.ids[-1] in ends)
        assert "<|" not in found.text
        ignoring = Request(request.ids, request.sampling.model_copy(update={"ignore_eos": True}))
        [longer] = Engine(model(kind), TOK).complete([ignoring])
        assert longer.ids[: len(found.ids)] == found.ids
        assert len(longer.ids) == 40
        endings.append(found.finish)
    assert kind != "ngram" or "stop" in endings


def test_a_stop_string_ends_the_text_before_it(kind):
    base = Request(prompt("The"), sampling(seed=11, max_tokens=60, ignore_eos=True))
    [whole] = Engine(model(kind), TOK).complete([base])
    stop = whole.text[10:13]
    [found] = Engine(model(kind), TOK).complete([Request(base.ids, base.sampling.model_copy(update={"stop": [stop, "never@"]}))])
    assert found.text == whole.text[: whole.text.find(stop)]
    assert found.finish == "stop"
    assert len(found.ids) < 60


# ---------------------------------------------------------------------------------------------------- log probabilities


@pytest.mark.parametrize("chunk", [512, 5])
def test_log_probabilities_are_those_of_one_pass_over_the_whole_row(kind, chunk):
    ids = prompt("春眠不觉晓, ink and stone")
    request = Request(ids, sampling(max_tokens=6, temperature=0.0, logprobs=3, prompt_logprobs=True, ignore_eos=True))
    found, other = Engine(model(kind), TOK, slots=2, chunk=chunk).complete([request, request])
    whole = torch.tensor([ids + found.ids])
    with torch.no_grad():
        logprobs = model(kind)(Inputs(whole)).logits[0].log_softmax(-1)
    tokens = [*found.prompt, *found.tokens]
    assert [token.id for token in tokens] == whole[0].tolist()
    assert tokens[0].logprob is None
    for place, token in enumerate(tokens[1:]):
        assert token.logprob == pytest.approx(logprobs[place, token.id].item(), abs=1e-4)
        assert token.top[0][1] == pytest.approx(logprobs[place].max().item(), abs=1e-4)
        assert len(token.top) == 3
        assert dict(token.top).get(token.id, token.logprob) == token.logprob  # the very same float
    assert all(token.logprob == token.top[0][1] for token in found.tokens)  # greedy
    assert other.prompt == found.prompt


def test_no_new_token_is_a_reading_of_the_prompt_alone(kind):
    [found] = Engine(model(kind), TOK).complete(
        [Request(prompt("ink"), sampling(max_tokens=0, logprobs=0, prompt_logprobs=True))]
    )
    assert (found.ids, found.text, found.finish) == ([], "", "length")
    assert len(found.prompt) == len(prompt("ink"))


# ---------------------------------------------------------------------------------------------------- failures


def test_a_row_whose_logits_are_no_numbers_fails_alone():
    import copy

    broken = copy.deepcopy(model("transformer"))
    broken.head = torch.nn.Linear(48, 400, bias=False)
    with torch.no_grad():
        broken.head.weight.copy_(broken.embedding.weight)
        broken.embedding.weight[77] = float("nan")
    sound = Request(prompt("The ink"), sampling(max_tokens=10, temperature=0.0, ignore_eos=True))
    engine = Engine(broken, TOK, slots=2)
    good, bad = engine.submit(sound), engine.submit(Request([BORDER, 77], sampling()))
    events = []
    while engine.busy:
        events += engine.step()
    [failed] = [e for e in events if e.ticket is bad]
    assert failed.finish == "error"
    assert isinstance(failed.error, WorkError)
    assert gather(e for e in events if e.ticket is good).ids == Engine(model("transformer"), TOK).complete([sound])[0].ids
    with pytest.raises(WorkError):
        gather(engine.stream(engine.submit(Request([BORDER, 77], sampling()))))
    assert engine.complete([sound])[0].finish == "length"  # its slot holds nothing of the failed one


def test_after_a_step_that_raised_the_engine_serves_on(kind, expected):
    engine = Engine(model(kind), TOK, slots=2)
    tickets = [engine.submit(request) for request in requests()]
    engine.step()
    failed = engine.fail(WorkError("engine", "a step", "a failure"))
    assert [event.ticket for event in failed] == tickets[:2]
    events = []
    while engine.busy:
        events += engine.step()
    assert [gather(e for e in events if e.ticket is t).ids for t in tickets[2:]] == [c.ids for c in expected[2:]]


def test_only_models_that_go_from_left_to_right_are_taken():
    class Masked(type(model("lstm"))):
        kind = "masked"

    other = Masked(model("lstm").part, 400)
    with pytest.raises(RequestError, match="left to right"):
        Engine(other, TOK)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@pytest.mark.parametrize("kind", KINDS)
def test_a_gpu_says_what_the_cpu_says(kind):
    import copy

    moved = copy.deepcopy(model(kind)).to("cuda")
    wanted = [request for request in requests() if request.sampling.greedy]
    found = Engine(moved, TOK, slots=3, chunk=8).complete(wanted)
    assert [c.ids for c in found] == [c.ids for c in Engine(model(kind), TOK).complete(wanted)]
    assert len(Engine(moved, TOK, slots=8).complete(requests())) == len(requests())  # sampling, log probabilities too
