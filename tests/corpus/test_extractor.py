"""The process that may be killed: only the page that is to blame is lost, everything else comes in its order."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from tests.corpus.crawl import page, paragraphs
from yanmo.corpus.web import extractor
from yanmo.corpus.web.extractor import Extractor, Limits, extracted
from yanmo.corpus.web.html import Extracted, extract

PAGES = [(page(f"Page {i}", paragraphs(i, ("en", "zh")[i % 2]), ("en", "zh")[i % 2]), None) for i in range(20)]
GREEDY = (b"<html><body>" + b"<p>a" * 3_900_000, None)  # 15 MB that take a gigabyte as a tree


@pytest.fixture
def made():
    found: list[Extractor] = []

    def make(**limits) -> Extractor:
        found.append(Extractor(Limits(**limits)))
        return found[-1]

    yield make
    for one in found:
        one.close()


def expected(tier):
    return [extract(*data[:1], tier) for data in PAGES]


@pytest.mark.parametrize("tier", ["quality", "fast", "none"])
def test_the_same_as_in_this_process_in_order(made, tier):
    child = made(tier=tier)
    assert child.pages(PAGES) == expected(tier)
    first = child.child.pid
    assert child.pages(PAGES[:3]) == expected(tier)[:3]
    assert child.child.pid == first, "one child serves many batches"
    assert child.pages([]) == []


def test_items_without_a_page_and_too_large_ones_keep_their_place():
    items = [(i, data if i % 3 else None) for i, data in enumerate(PAGES)]
    items[5] = (5, (b"x" * 5000, None))
    limits = Limits(tier="fast", max_bytes=4900)
    found = list(extracted(iter(items), limits))
    assert [item for item, _ in found] == list(range(20))
    plain = expected("fast")
    for i, result in found:
        assert result == (None if i % 3 == 0 else Extracted(reason="too_large", value=5000) if i == 5 else plain[i])
    assert list(extracted(iter([]), limits)) == []


def test_small_pages_are_done_together_and_a_large_one_alone():
    sizes = [10, 20, 30, 100, 5, 5, 200, 1]
    groups = [[len(data) for data, _ in group] for group in extractor.together([(b"x" * size, None) for size in sizes], 60)]
    assert groups == [[10, 20, 30], [100], [5, 5], [200], [1]]
    assert list(extractor.together([], 60)) == []
    assert [len(group) for group in extractor.together([(b"x", None)] * 3, 0)] == [1, 1, 1]


def test_a_caller_that_wants_the_first_few_does_not_wait_for_many():
    taken = []

    def items():
        for i, data in enumerate(PAGES * 20):
            taken.append(i)
            yield i, data

    found = extracted(items(), Limits(tier="fast"))
    next(found)
    assert len(taken) <= 8
    assert len(list(found)) == 399


def test_a_page_that_hangs_is_given_up_after_its_time_and_the_others_are_done(made, monkeypatch):
    child = made(tier="quality", timeout=0.5)
    started = time.monotonic()
    results = child.pages([*PAGES[:4], hanging(), *PAGES[4:8], hanging()])
    assert time.monotonic() - started < 60
    assert results[4] == results[9] == Extracted(reason="timeout", value=0.5)
    assert results[:4] + results[5:9] == expected("quality")[:8]


def hanging():
    """Every one of nested divisions is asked for the share of links in it."""
    return b"<html><body>" + b"<div>" * 200 + b"<a href=x>link words</a> text " * 200_000, None


def test_a_page_that_takes_too_much_memory_is_given_up(made):
    child = made(tier="quality", memory_mb=512, timeout=100)
    results = child.pages([*PAGES[:3], GREEDY, *PAGES[3:6]])
    assert results[3] == Extracted(reason="memory", value=512)
    assert results[:3] + results[4:] == expected("quality")[:6]


def test_a_child_killed_from_outside_loses_nothing(made):
    child = made(tier="quality")
    child.pages(PAGES[:1])
    batch = PAGES * 10
    killed = []

    def kill():
        for _ in range(3):
            time.sleep(0.15)
            process = child.child
            if process is not None and process.poll() is None:
                os.kill(process.pid, signal.SIGKILL)
                killed.append(process.pid)

    thread = threading.Thread(target=kill)
    thread.start()
    results = [result for _ in range(3) for result in child.pages(batch)]
    thread.join()
    assert killed
    assert results == expected("quality") * 30


def test_a_child_that_ended_between_batches_is_replaced(made):
    child = made(tier="fast")
    for _ in range(3):
        assert child.pages(PAGES[:5]) == expected("fast")[:5]
        child.child.kill()
        child.child.wait()


def test_a_child_that_cannot_work_at_all_is_an_error(made, monkeypatch):
    monkeypatch.setattr(extractor, "START", "raise SystemExit(3)")
    with pytest.raises(RuntimeError, match="ends with status 3 before its first page"):
        made(tier="fast").pages(PAGES[:1])


@pytest.mark.parametrize("tier", ["quality", "fast"])
def test_a_page_that_kills_every_child_is_given_up_with_the_signal(made, monkeypatch, tier):
    crash = "import sys, json, os; sys.path[:] = json.loads(sys.argv[1]); from yanmo.corpus.web import extractor as e\nwas = e.extract_all\ndef f(pages, tier):\n    if any(b'CRASH' in d for d, _ in pages): os.kill(os.getpid(), 11)\n    return was(pages, tier)\ne.extract_all = f; e.main()"
    monkeypatch.setattr(extractor, "START", crash)
    results = made(tier=tier).pages([*PAGES[:2], (b"<p>CRASH</p>", None), *PAGES[2:4]])
    assert results[2] == Extracted(reason="failed", value="signal 11")
    assert results[:2] + results[3:] == expected(tier)[:4]


SCRIPT = """
import time
from yanmo.corpus.web.extractor import Extractor, Limits
found = Extractor(Limits(tier="quality"))
found.pages([(b"<p>words</p>", None)])
print(found.child.pid, flush=True)
time.sleep(60)
"""


def test_the_child_ends_with_its_parent(folder):
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    process = subprocess.Popen([sys.executable, "-c", SCRIPT], stdout=subprocess.PIPE, text=True, env=environment)
    pid = int(process.stdout.readline())
    assert alive(pid)
    process.send_signal(signal.SIGKILL)
    process.wait()
    process.stdout.close()
    deadline = time.monotonic() + 10
    while alive(pid) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not alive(pid)


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False
