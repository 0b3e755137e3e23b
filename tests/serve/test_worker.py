"""The bridge between the event loop and the engine's thread, and what happens when the engine fails."""

from __future__ import annotations

import asyncio

import pytest
import torch

from tests.inference.tiny import model, tokenizer
from yanmo.inference.engine import Engine, Request
from yanmo.inference.sampling import sampling
from yanmo.serve.errors import ApiError
from yanmo.serve.worker import Worker

POISON = 399


class Fragile(type(model("lstm"))):
    """A model that raises on one token, as a bug in a kernel would."""

    def encode(self, inputs, slots=None):
        if (inputs.tokens == POISON).any():
            raise RuntimeError("poison")
        return super().encode(inputs, slots)


@pytest.fixture(scope="module")
def fragile():
    made = Fragile(model("lstm").part, 400)
    made.load_state_dict(model("lstm").state_dict())
    return made.eval()


def request(ids=(1, 50, 60), **settings):
    return Request(list(ids), sampling(**{"max_tokens": 12, "temperature": 0.0, "ignore_eos": True, **settings}))


async def text(job):
    return "".join([event.text async for _, event in job])


def test_a_job_gives_every_sequence_its_events_in_order():
    async def work():
        worker = Worker(Engine(model("lstm"), tokenizer(), slots=2), queue=20)
        jobs = [worker.submit([request(seed=k, temperature=1.0), request([5, 6])]) for k in range(4)]
        found = []
        for job in jobs:
            pieces = {0: [], 1: []}
            async for index, event in job:
                pieces[index].append(event)
            assert [events[-1].finish for events in pieces.values()] == ["length", "length"]
            assert [len(events) for events in pieces.values()] == [12, 12]
            found.append("".join(e.text for e in pieces[1]))
        assert len(set(found)) == 1
        assert worker.pending == 0
        assert not worker.jobs
        worker.close()

    asyncio.run(work())


def test_a_step_that_fails_costs_only_the_requests_in_it(fragile, capfd):
    async def work():
        worker = Worker(Engine(fragile, tokenizer(), slots=1), queue=20)
        jobs = [worker.submit([request()]), worker.submit([request([1, POISON])]), worker.submit([request([7, 8])])]
        first = await text(jobs[0])
        with pytest.raises(ApiError) as caught:
            await text(jobs[1])
        assert caught.value.status == 500
        assert await text(jobs[2])
        assert await text(worker.submit([request()])) == first
        assert worker.pending == 0
        assert worker.alive
        worker.close()

    asyncio.run(work())
    assert "RuntimeError: poison" in capfd.readouterr().err


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_when_the_thread_dies_nobody_waits_for_ever(monkeypatch):
    async def work():
        engine = Engine(model("lstm"), tokenizer(), slots=1)
        worker = Worker(engine, queue=20)

        def die(error):
            raise MemoryError

        engine.fail = die
        monkeypatch.setattr(engine, "step", lambda: die(None))
        with pytest.raises(ApiError) as caught:
            await asyncio.wait_for(text(worker.submit([request()])), 5)
        assert caught.value.status == 503
        assert not worker.alive
        with pytest.raises(ApiError, match="stopped"):
            worker.submit([request()])
        worker.close()

    asyncio.run(work())


def test_more_than_the_queue_is_refused_and_cancelling_makes_room():
    async def work():
        worker = Worker(Engine(model("ngram"), tokenizer(), slots=1), queue=2)
        long = request(max_tokens=100_000)
        jobs = [worker.submit([long]) for _ in range(3)]
        with pytest.raises(ApiError) as caught:
            worker.submit([request()])
        assert (caught.value.status, caught.value.retry) == (503, 1)
        for job in jobs:
            job.cancel()
            job.cancel()  # twice is once
        assert worker.pending == 0
        assert await text(worker.submit([request()]))
        whole = worker.submit([request(temperature=1.0, seed=1)] * 9)  # more than the queue, but nobody is before it
        assert await text(whole)
        worker.close()
        assert not worker.engine.busy

    asyncio.run(work())


def test_what_can_never_run_is_refused_before_it_is_queued():
    async def work():
        worker = Worker(Engine(model("transformer"), tokenizer(), slots=1), queue=2)
        for ids, code in [([5] * 97, "context_length_exceeded"), ([400], None), ([], None)]:
            with pytest.raises(ApiError) as caught:
                worker.submit([request(), request(ids)], "messages")
            assert (caught.value.status, caught.value.param, caught.value.code) == (400, "messages", code)
        assert worker.pending == 0
        worker.close()

    asyncio.run(work())


def test_the_poison_is_a_real_token():
    assert 0 <= POISON < tokenizer().size
    assert torch.isfinite(model("lstm").embedding.weight).all()
