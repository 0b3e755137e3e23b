"""A corpus of everything at once (recipes/corpus.yaml) at toy size: the same bytes on any number of workers, on Spark, and
after fifty kills; and every document that came in accounted for."""

from __future__ import annotations

import bz2
import gzip
import hashlib
import json
import random
import shutil
from pathlib import Path

import pyarrow.parquet as parquet
import pytest

from benchmarks.corpus_pages import documents, page, record
from tests.line.conftest import killed, yanmo
from tests.long import LONG
from tools.mixed_corpus import chinese, dirty
from yanmo.corpus.documents import original

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1500)]

SITE = '<mediawiki xmlns="http://www.mediawiki.org/xml/export-0.11/" version="0.11" xml:lang="en"><siteinfo><sitename>Wikipedia</sitename><dbname>enwiki</dbname><base>https://en.wikipedia.org/wiki/Main_Page</base></siteinfo>\n'


def wiki(path: Path, bodies: list[str]) -> None:
    """A multistream dump: the head, streams of a few pages, the foot; every fifth page a redirect, every seventh talk."""
    path.parent.mkdir(parents=True)
    pages = []
    for number, body in enumerate(bodies):
        text = f"'''Page {number}''' is {{{{cite|a={{{{b}}}}}}}}about [[sea|the sea]].&lt;ref&gt;x&lt;/ref&gt;\n\n== Text ==\n" + body.replace("&", "and").replace("<", "")
        text = "#REDIRECT [[Page 1]]" if number % 5 == 4 else text
        space = 1 if number % 7 == 6 else 0
        pages.append(f'<page><title>Page {number}</title><ns>{space}</ns><id>{number + 1}</id><revision><id>{number + 100}</id><timestamp>2026-01-01T00:00:00Z</timestamp><text xml:space="preserve">{text}</text></revision></page>\n')
    streams = [SITE, *("".join(pages[i : i + 6]) for i in range(0, len(pages), 6)), "</mediawiki>\n"]
    path.write_bytes(b"".join(bz2.compress(stream.encode()) for stream in streams))


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    folder = tmp_path_factory.mktemp("mixed")
    data, bodies = folder / "data" / "mixed", documents(120, seed=4)
    wiki(data / "wiki" / "dump.xml.bz2", bodies[:40])
    (data / "warc").mkdir()
    (data / "warc" / "pages.warc.gz").write_bytes(b"".join(gzip.compress(record(page(body, n), n), 6, mtime=0) for n, body in enumerate(bodies[30:80])))
    chinese(data / "zh")
    for path in sorted((data / "zh").iterdir())[12:]:
        path.unlink()
    dirty(data / "dirty", 70)
    done = yanmo("run", "corpus", "--run-dir", "whole", "corpus.engine.workers=1", cwd=folder)
    assert done.returncode == 0, done.stderr
    return folder


def hashes(run: Path) -> dict[str, str]:
    names = [path for name in ("documents", "dropped", "quarantined") for path in sorted((run / "corpus" / name).glob("*.parquet"))]
    return {path.relative_to(run).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest() for path in [*names, run / "corpus" / "stats.json"]}


def test_nothing_is_lost_and_every_text_leads_back_to_its_bytes(place, monkeypatch):
    monkeypatch.chdir(place)
    stats = json.loads((place / "whole/corpus/stats.json").read_text())
    assert stats["in"] == stats["kept"] + sum(stats["dropped"].values()) + sum(stats["quarantined"].values())
    by_source = {source["name"]: source for source in stats["sources"]}
    assert {source["type"] for source in stats["sources"]} == {"wikipedia", "warc", "text", "jsonl"}
    assert all(source["kept"] for source in by_source.values())
    assert {"minhash_dedup.near_duplicate", "exact_dedup.duplicate", "wikipedia.redirect", "wikipedia.namespace"} <= set(stats["dropped"])
    assert {"bad_json", "null_text", "wrong_type", "invalid_encoding", "truncated_gzip", "empty_file"} <= set(stats["quarantined"])
    assert stats["pii"]["email"] > 0
    rows = parquet.read_table(place / "whole/corpus/documents").to_pylist()
    for row in rows:
        data = original(row)
        assert data, row["file"]
        words = [word for word in row["text"].split() if word.isascii() and word.isalpha()][:20]
        assert all(word.encode() in data for word in words), (row["file"], row["member"], row["start"])
    assert {row["language"] for row in rows} == {"en", "zh"}


@pytest.mark.parametrize("workers", [2, 8])
def test_the_same_bytes_on_any_number_of_workers(place, workers):
    done = yanmo("run", "corpus", "--run-dir", f"w{workers}", f"corpus.engine.workers={workers}", cwd=place)
    assert done.returncode == 0, done.stderr
    assert hashes(place / f"w{workers}") == hashes(place / "whole")


@pytest.mark.spark
def test_the_same_bytes_on_spark(place):
    done = yanmo("run", "corpus", "--run-dir", "spark", "corpus.engine={type: spark, master: 'local[2]'}", cwd=place)
    assert done.returncode == 0, done.stderr
    assert hashes(place / "spark") == hashes(place / "whole")


def test_killed_at_random_moments(place):
    rng, kills, rounds = random.Random(1), 0, 0
    while kills < (50 if LONG else 25):
        rounds += 1
        workers = f"corpus.engine.workers={rng.choice([1, 2])}"
        if (place / "killed/corpus/manifest.json").exists():  # it got to its end between two kills: once more from the start
            assert hashes(place / "killed") == hashes(place / "whole")
            shutil.rmtree(place / "killed")
        kills += killed("run", "corpus", "--run-dir", "killed", workers, cwd=place, after=rng.uniform(0.6, 5.0))
    done = yanmo("run", "corpus", "--run-dir", "killed", cwd=place)
    assert done.returncode == 0, done.stderr
    print(f"{kills} kills in {rounds} starts")
    assert hashes(place / "killed") == hashes(place / "whole")
    assert not list((place / "killed").rglob(".tmp-*"))
