"""Text for benchmarks/quality.py that nothing here was tuned on: the documentation of Linux, in English and in Chinese.

    en   the kernel's documentation (Debian's linux-doc-6.1, GPL-2), 10.8 MB of training text, and 0.5 MB held out
    zh   its Chinese translation in the same package, all of it: 1.3 MB of training text, and 0.25 MB held out

and, which the mixture was tried on while it was made (so it shows less):

    zh-prose   the Romance of the Three Kingdoms, of the shipped samples: 1.6 MB of training text, and 0.16 MB held out

A file is a document; files are taken in the order of their hashes, so that both parts come from everywhere. A paragraph that
stood in an earlier document is left out: a text that repeats itself would be known by heart by whatever counts.
"""

from __future__ import annotations

import gzip
import json
import subprocess
import tempfile
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path

PACKAGE = "linux-doc-6.1"
TRAIN, HELD_OUT = {"en": 10_800_000, "zh": 1 << 40, "zh-prose": 1 << 40}, {"en": 500_000, "zh": 230_000, "zh-prose": 150_000}
SAMPLE = Path(__file__).parents[1] / "yanmo/samples/sanguo/chapters.jsonl"
SHORTEST = 400  # characters of a document


def write(folder: Path, language: str, package: str | None = None) -> dict[str, int]:
    """train.jsonl and test.jsonl in `folder`, and how many bytes each holds. `package`: the .deb, where it is there already."""
    if language == "zh-prose":
        texts = [json.loads(line)["text"] for line in SAMPLE.read_text(encoding="utf-8").splitlines()]
        texts.sort(key=lambda content: sha256(content.encode()).hexdigest())
    else:
        with tempfile.TemporaryDirectory() as temporary:
            found = Path(package) if package else _download(Path(temporary))
            subprocess.run(["dpkg-deb", "-x", str(found), temporary], check=True)
            texts = list(documents(Path(temporary), language))
    sizes = {"test": 0, "train": 0}
    with open(folder / "train.jsonl", "w", encoding="utf-8") as train, open(folder / "test.jsonl", "w", encoding="utf-8") as test:
        for content in texts:
            split = "test" if sizes["test"] < HELD_OUT[language] else "train"
            if split == "train" and sizes["train"] >= TRAIN[language]:
                break
            sizes[split] += len(content.encode())
            (test if split == "test" else train).write(json.dumps({"text": content}, ensure_ascii=False) + "\n")
    return sizes


def documents(folder: Path, language: str) -> Iterator[str]:
    """The texts, each paragraph once."""
    paths = {path.relative_to(folder).as_posix(): path for path in folder.rglob("*.rst*") if path.is_file()}
    chosen = [name for name in paths if ("/zh_CN/" in name if language == "zh" else "/translations/" not in name)]
    seen: set[str] = set()
    for name in sorted(chosen, key=lambda name: sha256(name.encode()).hexdigest()):
        data = paths[name].read_bytes()
        content = (gzip.decompress(data) if name.endswith(".gz") else data).decode("utf-8", "ignore")
        fresh = [piece for piece in content.split("\n\n") if piece.strip() not in seen]
        seen |= {piece.strip() for piece in fresh}
        content = "\n\n".join(fresh).strip()
        if len(content) >= SHORTEST:
            yield content


def _download(folder: Path) -> Path:
    subprocess.run(["apt-get", "download", PACKAGE], cwd=folder, check=True, stdout=subprocess.DEVNULL)
    return next(folder.glob("*.deb"))
