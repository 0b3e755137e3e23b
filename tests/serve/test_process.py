"""The server as a process: clients that leave, a full queue, signals, addresses."""

from __future__ import annotations

import concurrent.futures
import json
import signal
import socket
import subprocess
import sys
import time

import httpx
import pytest

from tests.inference.tiny import KINDS
from yanmo.core.errors import RequestError
from yanmo.serve.app import serve

LONG = {"model": "ngram", "prompt": "Once", "max_tokens": 16_000, "temperature": 1.0, "seed": 1, "ignore_eos": True}
BOUNDED = """
import sys
from yanmo.serve.app import serve
from yanmo.serve.limits import Limits
serve(sys.argv[1], port=0, slots=2, limits=Limits(queue=3, drain=float(sys.argv[2])))
"""


def load(server):
    found = server.client.get("/health").json()
    return found["running"], found["waiting"]


def until(condition, seconds=10.0):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not come about"
        time.sleep(0.02)


@pytest.mark.parametrize("path", ["/v1/completions", "/v1/chat/completions"])
@pytest.mark.parametrize("stream", [True, False])
def test_a_client_that_leaves_gives_its_slot_back(server, path, stream):
    body = {**LONG, "stream": stream}
    if "chat" in path:
        body["messages"] = [{"role": "user", "content": body.pop("prompt")}]
    with httpx.Client(base_url=server.url, timeout=None if stream else 0.5) as client:
        if stream:
            with client.stream("POST", path, json=body) as response:
                lines = response.iter_lines()
                assert next(lines).startswith("data: ")
                until(lambda: load(server) == (1, 0))
        else:
            with pytest.raises(httpx.ReadTimeout):
                client.post(path, json=body)
    until(lambda: load(server) == (0, 0), 2)  # seconds
    assert server.post("/v1/completions", {"prompt": "a", "max_tokens": 3}).status_code == 200


def test_clients_that_leave_while_they_wait_never_run_and_a_storm_of_them_leaves_nothing(server):
    before = server.post("/v1/completions", {"model": "ngram", "prompt": "床前", "temperature": 0}).json()["choices"]

    def leave(index):
        with (
            httpx.Client(base_url=server.url) as client,
            client.stream("POST", "/v1/completions", json={**LONG, "seed": index, "stream": True}),
        ):
            time.sleep(0.05 * (index % 3))

    with concurrent.futures.ThreadPoolExecutor(20) as pool:
        list(pool.map(leave, range(60)))
    until(lambda: load(server) == (0, 0))
    assert server.post("/v1/completions", {"model": "ngram", "prompt": "床前", "temperature": 0}).json()["choices"] == before


@pytest.mark.slow
def test_a_full_queue_says_so_at_once_and_the_others_finish(start, run):
    server = start(str(run), "30", code=BOUNDED)
    body = {**LONG, "max_tokens": 700}
    with concurrent.futures.ThreadPoolExecutor(12) as pool:
        answers = [
            pool.submit(httpx.post, f"{server.url}/v1/completions", json={**body, "seed": i}, timeout=60) for i in range(5)
        ]
        until(lambda: load(server) == (2, 3))
        started = time.monotonic()
        refused = server.post("/v1/completions", body)
        assert time.monotonic() - started < 1
        assert refused.status_code == 503
        assert int(refused.headers["retry-after"]) >= 1
        assert refused.json()["error"]["type"] == "overloaded_error"
        assert (
            server.post(
                "/v1/chat/completions", {"model": "ngram", "messages": [{"role": "user", "content": "x"}], "stream": True}
            ).status_code
            == 503
        )
        other = server.post("/v1/completions", {"model": "lstm", "prompt": "a", "max_tokens": 2})
        assert other.status_code == 200  # each model has a queue of its own
        assert [answer.result().status_code for answer in answers] == [200] * 5
    assert len({answer.result().json()["choices"][0]["text"] for answer in answers}) == 5
    assert server.post("/v1/completions", body).status_code == 200


def read_stream(url, body, events, path="/v1/chat/completions"):
    with httpx.Client(base_url=url, timeout=60) as client, client.stream("POST", path, json=body) as response:
        for line in response.iter_lines():
            if line:
                events.append(line)
    return response.status_code


def streaming(max_tokens, seed=0, **more):
    return {"model": KINDS[seed % 2], "messages": [{"role": "user", "content": "研墨"}], "max_tokens": max_tokens, "seed": seed, "stream": True,
            "ignore_eos": True, **more}  # fmt: skip


def test_sigterm_lets_running_streams_finish_and_refuses_what_is_new(start, run):
    server = start(str(run), "--slots", "4")
    every = [[] for _ in range(8)]
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        reading = [pool.submit(read_stream, server.url, streaming(400, seed), events) for seed, events in enumerate(every)]
        until(lambda: all(len(events) > 3 for events in every[:2]))
        server.terminate()
        until(lambda: server.client.get("/health").status_code == 503, 1)
        assert server.client.get("/health").json()["status"] == "draining"
        refused = server.post("/v1/chat/completions", streaming(5))
        assert refused.status_code == 503
        assert refused.json()["error"]["code"] == "shutting_down"
        assert server.post("/v1/classify", {"input": "x"}).status_code == 503
        assert [each.result() for each in reading] == [200] * 8
    for events in every:
        assert events[-1] == "data: [DONE]"
        finishes = [
            choice["finish_reason"]
            for event in events[:-1]
            for choice in json.loads(event[6:])["choices"]
            if choice["finish_reason"]
        ]
        assert finishes == ["length"]
    assert server.process.wait(10) == 0
    with pytest.raises(httpx.TransportError):
        httpx.get(f"{server.url}/health")


@pytest.mark.slow
@pytest.mark.parametrize("how", ["the time is over", "a second signal"])
def test_what_does_not_finish_in_time_ends_with_an_error_event(start, run, how):
    server = start(str(run), "0.5" if how == "the time is over" else "60", code=BOUNDED)
    events = []
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        reading = pool.submit(read_stream, server.url, streaming(16_000, seed=0), events)
        whole = pool.submit(httpx.post, f"{server.url}/v1/completions", json=LONG, timeout=60)
        until(lambda: load(server) == (2, 0) and len(events) > 3)
        server.terminate()
        if how == "a second signal":
            until(lambda: server.client.get("/health").status_code == 503)
            time.sleep(0.3)
            assert server.process.poll() is None
            server.process.send_signal(signal.SIGINT)
        assert reading.result() == 200
        assert whole.result().status_code == 503
    assert json.loads(events[-1][6:])["error"]["code"] == "shutting_down"
    assert server.process.wait(10) == 0


def test_an_idle_server_ends_at_once(start, run):
    server = start(str(run / "ngram"))
    began = time.monotonic()
    server.process.send_signal(signal.SIGINT)
    assert server.process.wait(10) == 0
    assert time.monotonic() - began < 8
    assert not any("Traceback" in line for line in server.lines)


def test_a_port_that_is_taken_is_one_line_and_exit_status_2(run):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        done = subprocess.run(
            [sys.executable, "-m", "yanmo", "serve", str(run), "--port", port], capture_output=True, text=True, check=False
        )
    assert done.returncode == 2
    assert len(done.stderr.strip().splitlines()) == 1, done.stderr
    assert port in done.stderr


@pytest.mark.parametrize("wrong", [{"port": 99999}, {"port": -1}, {"host": "no such host"}, {"slots": 0}, {"path": "nothing"}])
def test_what_cannot_be_served_is_a_wrong_request(folder, run, wrong):
    with pytest.raises(RequestError):
        serve(**{"path": run, "port": 0, **wrong})


@pytest.mark.slow
def test_a_slow_body_is_given_up(start, run):
    code = BOUNDED.replace("Limits(", "Limits(seconds=1, ")
    server = start(str(run / "ngram"), "5", code=code)
    host, port = server.url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=10) as client:
        client.sendall(
            b"POST /v1/completions HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: 100\r\n\r\n{"
        )
        assert server.post("/v1/completions", {"prompt": "a", "max_tokens": 2}).status_code == 200
        assert b" 408 " in client.recv(4096).split(b"\r\n")[0]


def test_a_header_without_end_is_refused(server):
    host, port = server.url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=10) as client:
        client.sendall(b"GET /health HTTP/1.1\r\nhost: x\r\nx: " + b"a" * 2**20)
        assert client.recv(4096).startswith(b"HTTP/1.1 4")
    assert server.client.get("/health").status_code == 200
