"""Writes the `minimal_pairs` sample from the templates of `minimal_pairs.yaml`: python tools/minimal_pairs.py [FOLDER]

    The {thing1.0} of the {person.1} [is~are] {look}.
    →   The ship of the captains is old.        The ship of the captains are old.

A hundred pairs for each phenomenon, evenly from its templates; slots are drawn by a generator seeded with the phenomenon's
name, so that the same templates make the same bytes. Only words that our own texts use: one that `KNOWN` of the samples'
words (in Chinese, characters) do not know stops the work, so that a wrong answer is a matter of grammar.

The fields are BLiMP's (Warstadt et al. 2020): sentence_good, sentence_bad, linguistics_term, UID, and `language`. The
sentences are our own.
"""

from __future__ import annotations

import hashlib
import json
import random
import re
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parent.parent
SAMPLES = ROOT / "yanmo" / "samples"
EACH = 100  # pairs of a phenomenon
TRIES = 1000  # draws without a new pair before the templates are said to be too poor
KNOWN = 2  # times that a word or a character occurs in the texts, at least
TEXTS = {"en": ("moby_dick/chapters.jsonl", "state_of_the_union/speeches.jsonl"), "zh": ("sanguo/chapters.jsonl",)}
SLOT = re.compile(r"\{([a-z]+)(\d*)(?:\.(\d))?\}")
CHOICE = re.compile(r"\[([^\]~]*)~([^\]~]*)\]")

Row = dict[str, str]


def pairs(settings: dict[str, Any], language: str) -> Iterator[Row]:
    """Every pair of a language, in the order of its phenomena."""
    words = settings["words"]
    for term, paradigms in settings.items():
        if term == "words":
            continue
        rng = random.Random(f"{language}/{term}")
        templates = [(uid, each) for uid, listed in paradigms.items() for each in listed]
        seen: set[str] = set()
        for number in range(EACH):
            uid, template = templates[number % len(templates)]
            if isinstance(template, dict):  # a template and its mirror image in turn
                template = template["both"][number // len(templates) % 2]
            good, bad = new(template, words, rng, seen)
            yield {"sentence_good": good, "sentence_bad": bad, "linguistics_term": term, "UID": f"{term}_{uid}",
                   "language": language}  # fmt: skip


def new(template: str, words: dict[str, list], rng: random.Random, seen: set[str]) -> tuple[str, str]:
    """A pair whose right sentence was not seen."""
    for _ in range(TRIES):
        good, bad = written(template, words, rng)
        if good not in seen:
            seen.add(good)
            return good, bad
    sys.exit(f"{template}: expected more words in its lists, all sentences are used")


def written(template: str, words: dict[str, list], rng: random.Random) -> tuple[str, str]:
    """The two sentences of one draw; slots of one list that are told apart by a number hold different words."""
    chosen: dict[tuple[str, str], Any] = {}
    taken: dict[str, list[Any]] = {}

    def fill(found: re.Match[str]) -> str:
        name, number, form = found.groups()
        if (name, number) not in chosen:
            free = [word for word in words[name] if word not in taken.get(name, [])]
            chosen[name, number] = rng.choice(free)
            taken.setdefault(name, []).append(chosen[name, number])
        word = chosen[name, number]
        assert isinstance(word, str) == (form is None), f"{template}: {found[0]}"
        return word if form is None else word[int(form)]

    filled = SLOT.sub(fill, template)
    good, bad = CHOICE.sub(r"\1", filled), CHOICE.sub(r"\2", filled)
    assert good != bad, template
    assert not re.search(r"[\[\]{}~]", good + bad), template
    return good, bad


def unknown(rows: list[Row], language: str, folder: Path = SAMPLES) -> list[str]:
    """The words (in Chinese, characters) of the pairs that the samples do not use."""
    kind = re.compile(r"[\u4e00-\u9fff]" if language == "zh" else r"[a-z]+")
    known: Counter[str] = Counter()
    for file in TEXTS[language]:
        known.update(kind.findall((folder / file).read_text(encoding="utf-8").lower()))
    used = {word for row in rows for word in kind.findall((row["sentence_good"] + " " + row["sentence_bad"]).lower())}
    return sorted(word for word in used if known[word] < KNOWN)


def source(files: dict[str, bytes], rows: int) -> str:
    """What stands in SOURCE."""
    about = {
        "title": "minimal pairs of English and Chinese grammar",
        "made_by": "tools/minimal_pairs.py",
        "author": "The Yanmo authors",
        "licence": "Apache-2.0",
        "language": "en, zh-Hans",
        "changes": ["original work: written for Yanmo from templates of our own, in the words of the other samples",
                    "the fields have the names of BLiMP's (Warstadt et al. 2020); no sentence of it is here"],
        "rows": rows,
        "bytes": sum(map(len, files.values())),
        "files": {name: {"sha256": hashlib.sha256(content).hexdigest(), "rows": content.count(b"\n"), "bytes": len(content)}
                  for name, content in files.items()},
    }  # fmt: skip
    return yaml.safe_dump(about, sort_keys=False, allow_unicode=True, width=130)


def main(arguments: list[str]) -> int:
    folder = Path(arguments[0]) if arguments else SAMPLES / "minimal_pairs"
    settings = yaml.safe_load(Path(__file__).with_suffix(".yaml").read_text(encoding="utf-8"))
    files, total = {}, 0
    for language in settings:
        rows = list(pairs(settings[language], language))
        if missing := unknown(rows, language):
            print(f"{language}: expected words of the samples, got {', '.join(missing)}", file=sys.stderr)
            return 1
        total += len(rows)
        files[f"{language}.jsonl"] = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows).encode()
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        (folder / name).write_bytes(content)
    (folder / "SOURCE").write_text(source(files, total), encoding="utf-8")
    (folder / "LICENSE").write_bytes((ROOT / "LICENSE").read_bytes())
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
