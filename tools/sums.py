"""Writes `yanmo/samples/sums`, original work: sums of small numbers in digits and in Chinese numerals, many of them wrong.

    python tools/sums.py

    texts.jsonl         what a model learns to write first: the right sum in two of five cases, else one that is near it
    train.jsonl, held.jsonl     prompts with the right answer, four of five and the fifth
    pairs.jsonl, held_pairs.jsonl   preferences: the right answer before each wrong one, for the prompts of either

The optimum is known: always the right sum. A model that has learned the texts says it in two of five cases.
"""

from __future__ import annotations

import hashlib
import json
import random
from collections.abc import Iterator
from pathlib import Path

import yaml

from yanmo.text.numerals import spelled

FOLDER = Path(__file__).resolve().parents[1] / "yanmo" / "samples" / "sums"
MOST = 19  # of both numbers
NEAR = (-2, -1, 1, 2)  # a wrong sum's distance from the right one
COPIES = 10  # of each prompt in the texts: four with the right sum
RIGHT = 4


def prompts() -> Iterator[tuple[str, int, str]]:
    """(prompt, sum, language) of every sum."""
    for a in range(MOST + 1):
        for b in range(MOST + 1):
            yield f"{a}+{b}=", a + b, "en"
            yield f"{spelled(a)}加{spelled(b)}等于", a + b, "zh"


def said(value: int, language: str) -> str:
    return str(value) if language == "en" else spelled(value)


def held_out(prompt: str) -> bool:
    return hashlib.sha256(prompt.encode()).digest()[0] % 5 == 0


def wrong(value: int) -> list[int]:
    """The wrong sums that are near the right one."""
    return [value + step for step in NEAR if value + step >= 0]


def main() -> None:
    dice = random.Random(20261122)
    texts, train, held, pairs, held_pairs = [], [], [], [], []
    for prompt, value, language in prompts():
        for copy in range(COPIES):
            answer = value if copy < RIGHT else dice.choice(wrong(value))
            texts.append({"text": prompt + said(answer, language)})
        row = {"prompt": prompt, "answer": said(value, language), "language": language}
        (held if held_out(prompt) else train).append(row)
        (held_pairs if held_out(prompt) else pairs).extend(
            {"prompt": prompt, "chosen": row["answer"], "rejected": said(near, language), "language": language}
            for near in wrong(value)
        )
    dice.shuffle(texts)
    FOLDER.mkdir(exist_ok=True)
    about = {}
    for name, rows in (("texts", texts), ("train", train), ("held", held), ("pairs", pairs), ("held_pairs", held_pairs)):
        data = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows).encode()
        (FOLDER / f"{name}.jsonl").write_bytes(data)
        about[f"{name}.jsonl"] = {"sha256": hashlib.sha256(data).hexdigest(), "rows": len(rows), "bytes": len(data)}
    source = {
        "title": "sums of small numbers in English and Chinese, many of them wrong", "made_by": "tools/sums.py",
        "author": "The Yanmo authors", "licence": "Apache-2.0", "language": "en, zh-Hans",
        "changes": ["original work: every sum of two numbers from 0 to 19, in digits and in Chinese numerals",
                    "texts.jsonl gives each sum ten times, four times right and six times with an answer that is near it",
                    "the fifth of the prompts that is in held.jsonl and held_pairs.jsonl is chosen by hash"],
        "rows": sum(entry["rows"] for entry in about.values()), "bytes": sum(entry["bytes"] for entry in about.values()),
        "files": about,
    }  # fmt: skip
    (FOLDER / "SOURCE").write_text(yaml.safe_dump(source, allow_unicode=True, sort_keys=False), encoding="utf-8")


if __name__ == "__main__":
    main()
