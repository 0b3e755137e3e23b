"""The samples are what SOURCE says, may be shipped, and are clean; the intents are split honestly."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from yanmo import samples
from yanmo.core.errors import DataError

ROOT = Path(__file__).resolve().parents[2]
PARTS = ("train", "validation", "test")


def rows(name: str, file: str) -> list[dict]:
    lines = (samples.path(name) / file).read_text(encoding="utf-8").split("\n")
    assert lines.pop() == ""
    return [json.loads(line) for line in lines]


def check(*arguments: str) -> subprocess.CompletedProcess[str]:
    script = ROOT / "tools" / "check_licences.py"
    return subprocess.run([sys.executable, str(script), *arguments], capture_output=True, text=True, check=False)


# ---- where they come from -----------------------------------------------------------------------------------------


def test_names() -> None:
    assert samples.names() == ["intents", "minimal_pairs", "moby_dick", "sanguo", "state_of_the_union", "sums", "tang_poems", "word_problems"]
    with pytest.raises(DataError, match="moby_dick"):
        samples.path("moby_dik")


def test_importing_samples_is_light() -> None:
    code = "import sys, yanmo.samples as s; s.path('sanguo'); print([m for m in ('torch', 'yaml', 'numpy') if m in sys.modules])"
    assert subprocess.check_output([sys.executable, "-c", code], text=True).strip() == "[]"


def test_licences_and_hashes() -> None:
    result = check()
    assert (result.returncode, result.stderr) == (0, "")


@pytest.mark.parametrize(
    ("harm", "complaint"),
    [
        (lambda folder: (folder / "LICENSE").unlink(), "LICENSE: expected the full text"),
        (lambda folder: (folder / "SOURCE").unlink(), "SOURCE: missing"),
        (lambda folder: (folder / "extra.jsonl").write_text("{}"), "extra.jsonl: not listed"),
        (lambda folder: (folder / "chapters.jsonl").write_text("{}"), "chapters.jsonl: expected sha256"),
        (lambda folder: (folder / "SOURCE").write_text("title: x"), "SOURCE: missing package"),
    ],
)
def test_a_harmed_sample_is_one_line(tmp_path: Path, harm, complaint: str) -> None:
    shutil.copytree(samples.path("sanguo"), tmp_path / "sanguo")
    harm(tmp_path / "sanguo")
    result = check(str(tmp_path))
    assert result.returncode == 1
    assert len(result.stderr.splitlines()) == 1
    assert complaint in result.stderr


@pytest.mark.parametrize("name", samples.names())
def test_source_counts_are_true(name: str) -> None:
    source = samples.source(name)
    for file, about in source["files"].items():
        assert len(rows(name, file)) == about["rows"]
        assert (samples.path(name) / file).stat().st_size == about["bytes"]
    assert source["rows"] == sum(about["rows"] for about in source["files"].values())


# ---- clean text ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "file", "count"),
    [
        ("moby_dick", "chapters.jsonl", 136),
        ("sanguo", "chapters.jsonl", 120),
        ("state_of_the_union", "speeches.jsonl", 66),
        ("tang_poems", "poems.jsonl", 12_000),
    ],
)
def test_documents_are_clean(name: str, file: str, count: int) -> None:
    documents = rows(name, file)
    assert len(documents) == count
    assert len({document["id"] for document in documents}) == count
    assert len({document["text"] for document in documents}) == count
    for document in documents:
        text = document["text"]
        assert text == text.strip()
        assert not re.search(r"[\ufffd□囗【】\t\r]|[\ue000-\uf8ff]|  |\n\n\n|&\w+;|<\w+|https?:|www\.|gutenberg", text, re.I), (
            text[:80]
        )


def test_chinese_scripts() -> None:
    assert rows("sanguo", "chapters.jsonl")[0]["text"].startswith("第一回 宴桃园豪杰三结义")
    titles = Counter(poem["title"] for poem in rows("tang_poems", "poems.jsonl"))
    assert titles["靜夜思"]
    assert titles["長恨歌"]


# ---- minimal pairs ------------------------------------------------------------------------------------------------


def test_minimal_pairs_are_what_their_templates_make(tmp_path) -> None:
    script = ROOT / "tools" / "minimal_pairs.py"
    subprocess.run([sys.executable, str(script), str(tmp_path)], check=True)
    for file in ("en.jsonl", "zh.jsonl", "SOURCE", "LICENSE"):
        assert (tmp_path / file).read_bytes() == (samples.path("minimal_pairs") / file).read_bytes(), file


@pytest.mark.parametrize("language", ["en", "zh"])
def test_minimal_pairs_differ_in_one_place(language: str) -> None:
    found = rows("minimal_pairs", f"{language}.jsonl")
    assert len({row["sentence_good"] for row in found}) == len(found) == 500
    assert set(Counter(row["linguistics_term"] for row in found).values()) == {100}
    good, bad = ({row[name] for row in found} for name in ("sentence_good", "sentence_bad"))
    assert not good & bad
    for row in found:
        one, other = row["sentence_good"], row["sentence_bad"]
        assert row["language"] == language
        assert row["UID"].startswith(row["linguistics_term"])
        assert bool(re.search(r"[\u4e00-\u9fff]", one)) == (language == "zh"), one
        assert one[0].isupper() or language == "zh"
        assert one[-1] in ".?。？"
        assert other[-1] == one[-1]
        assert not re.search(r"[{}~\[\]]|  ", one + other), one
        words = (lambda text: text.split()) if language == "en" else list
        assert abs(len(words(one)) - len(words(other))) <= 1, one


@pytest.mark.parametrize("language", ["en", "zh"])
def test_no_word_alone_tells_the_right_sentence_of_a_mirrored_template(language: str) -> None:
    """Where a template comes with its mirror image, what is right in one half is wrong in the other."""
    terms = {"en": ("subject_verb_agreement", "determiner_noun_agreement", "reflexives"), "zh": ()}[language]
    for term in terms:
        balance: Counter[str] = Counter()
        for row in rows("minimal_pairs", f"{language}.jsonl"):
            if row["linguistics_term"] == term:
                one, other = (Counter(re.findall(r"\w+", row[name].lower())) for name in ("sentence_good", "sentence_bad"))
                balance.update(one - other)
                balance.subtract(other - one)
        assert max(abs(count) for count in balance.values()) <= 10, (term, balance)


# ---- intents ------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def intents() -> dict[str, list[dict]]:
    return {part: rows("intents", f"{part}.jsonl") for part in PARTS}


def test_every_label_has_both_languages_in_every_part(intents) -> None:
    pairs = {part: {(row["label"], row["language"]) for row in found} for part, found in intents.items()}
    labels = samples.source("intents")["labels"]
    assert 20 <= len(labels) <= 40
    for part in PARTS:
        assert pairs[part] == {(label, language) for label in labels for language in ("en", "zh")}


@pytest.mark.parametrize("field", ["text", "template"])
def test_parts_are_disjoint(intents, field: str) -> None:
    def values(part: str) -> set[tuple[str, str]]:
        return {(row["language"], re.sub(r"\s", "", row[field]).lower()) for row in intents[part]}

    assert not values("train") & values("test")
    assert not values("train") & values("validation")
    assert not values("validation") & values("test")


def test_intents_are_sentences(intents) -> None:
    every = [row for part in PARTS for row in intents[part]]
    assert len({row["text"] for row in every}) == len(every)
    for row in every:
        assert set(row) == {"text", "label", "language", "template"}
        assert not re.search(r"[{}<>\[\]()|;]|  |^ | $", row["text"]), row["text"]
        assert bool(re.search(r"[\u4e00-\u9fff]", row["text"])) == (row["language"] == "zh"), row["text"]


def test_no_label_dominates(intents) -> None:
    counts = Counter((row["label"], row["language"]) for row in intents["train"])
    assert max(counts.values()) <= 150
    assert min(counts.values()) >= 24
