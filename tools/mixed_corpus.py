"""Fetches the real data of `yanmo run corpus`: python tools/mixed_corpus.py [FOLDER] [--pages 600]

    FOLDER/wiki/   a slice of an English Wikipedia dump (bz2), out of the wheel of gensim 4.4.0; CC-BY-SA
    FOLDER/warc/   LibreOffice's help pages in English and Chinese as responses of a WARC, one gzip member each; MPL-2.0
    FOLDER/zh/     chapters of the Romance of the Three Kingdoms, of the shipped samples; public domain
    FOLDER/dirty/  JSON lines with what goes wrong in them: duplicates, mojibake, broken lines, wrong types, personal data

The first two are downloaded from the package registry and from the Debian archive (`apt-get download`), which is why this is
a tool and not a part of the package. Same inputs give the same bytes.
"""

from __future__ import annotations

import argparse
import gzip
import json
import random
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))
from benchmarks.corpus_pages import documents, record

SAMPLES = Path(__file__).parents[1] / "yanmo" / "samples"
WIKI = "gensim/test/test_data/enwiki-latest-pages-articles1.xml-p000000010p000030302-shortened.bz2"
HELP = ("libreoffice-help-en-us", "libreoffice-help-zh-cn")


def wiki(folder: Path, work: Path) -> None:
    subprocess.run([sys.executable, "-m", "pip", "download", "-q", "--no-deps", "-d", str(work), "gensim==4.4.0"], check=True)
    folder.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(next(work.glob("gensim-*.whl"))) as wheel:
        (folder / "enwiki-pages-articles.xml.bz2").write_bytes(wheel.read(WIKI))


def warc(folder: Path, work: Path, count: int) -> None:
    """`count` pages of each language, the longest first: most help pages are a few lines."""
    subprocess.run(["apt-get", "download", "-qq", *HELP], cwd=work, check=True)
    folder.mkdir(parents=True, exist_ok=True)
    number = 0
    with open(folder / "help.warc.gz", "wb") as out:
        for name in HELP:
            subprocess.run(["dpkg-deb", "-x", str(next(work.glob(f"{name}_*.deb"))), str(work / name)], check=True)
            pages = sorted((work / name).rglob("*.html"), key=lambda path: (-path.stat().st_size, path.name))[:count]
            for path in sorted(pages, key=lambda path: path.as_posix()):
                out.write(gzip.compress(record(path.read_text(encoding="utf-8"), number), 6, mtime=0))
                number += 1


def chinese(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for source in sorted((SAMPLES / "sanguo").glob("*.jsonl*")):
        with gzip.open(source, "rt", encoding="utf-8") if source.suffix == ".gz" else open(source, encoding="utf-8") as handle:
            for number, line in enumerate(handle):
                coding = "gb18030" if number % 5 == 4 else "utf-8"  # some as older files are
                (folder / f"{number:03d}.txt").write_bytes(json.loads(line)["text"].encode(coding))


def dirty(folder: Path, count: int = 400) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    rng = random.Random(0)
    lines: list[bytes] = []
    for number, body in enumerate(documents(count)):
        match number % 12:
            case 3:
                body = body.encode("utf-8").decode("latin-1").replace("a", "â\x80\x99", 3)
            case 5:
                body += f"\nWrite to reader{number}@example.com or call +1 212 555 0{rng.randrange(100, 200)}."
                body += f" Seen from 163.36.107.{rng.randrange(1, 255)}."
            case 7:
                body = body[:300] + " click here" * 200
        row: object = {"text": body, "number": number}
        match number % 40:
            case 11:
                row = {"text": None, "number": number}
            case 23:
                row = {"text": number}
            case 37:
                row = {"body": body}
        line = json.dumps(row, ensure_ascii=False).encode("utf-8")
        if number % 60 == 17:
            line = line[: len(line) // 2]
        if number % 60 == 47:
            line = line[:50] + b"\xff\xfe" + line[50:]
        lines.append(line)
        if number % 15 == 8:
            lines.append(line)
    (folder / "dirty.jsonl").write_bytes(b"\n".join(lines) + b"\n")
    packed = gzip.compress(b"\n".join(lines[:100]) + b"\n", 6, mtime=0)
    (folder / "cut.jsonl.gz").write_bytes(packed[: len(packed) * 3 // 4])  # as a broken download leaves it
    (folder / "empty.jsonl").write_bytes(b"")


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("folder", nargs="?", type=Path, default=Path("data/mixed"))
    parser.add_argument("--pages", type=int, default=600, help="help pages of each language")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        work = Path(temporary)
        wiki(given.folder / "wiki", work)
        warc(given.folder / "warc", work, given.pages)
    chinese(given.folder / "zh")
    dirty(given.folder / "dirty")
    size = sum(path.stat().st_size for path in given.folder.rglob("*") if path.is_file())
    print(f"{given.folder}: {size / 1e6:.1f} MB; next: yanmo run corpus")


if __name__ == "__main__":
    main()
