"""Changed copies of training rows: the same for the same seed, never of held-out rows, and changed in the way they say."""

from __future__ import annotations

import json
import random
import re
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from yanmo.core.data import Example, content_id
from yanmo.core.errors import DataError
from yanmo.core.registry import create, names
from yanmo.tasks.augment.augment import units
from yanmo.tasks.augment.slips import neighbours

TEXTS = ["turn on the light in the kitchen, please 💡", "把客厅的灯打开，谢谢。", "naïve café — e\u0301te\u0301 don't 打开 the 窗帘", "😀😀", "a"]
WORDS = "light\tlamp\n打开,开启，启动\nkitchen, scullery\n# a note\n"
SOUNDS = "灯 deng\n登 deng\n客 ke\n克 ke\n课 ke\n的 de\n的 di\n得 de\n地 di\n打开 da kai\n"


@pytest.fixture(autouse=True)
def _lists(folder):
    Path("words.txt").write_text(WORDS, encoding="utf-8")
    Path("sounds.txt").write_text(SOUNDS, encoding="utf-8")


def part(name: str, **changes):
    given = {"synonym": {"path": "words.txt"}, "homophone": {"path": "sounds.txt"}}.get(name, {})
    return create("augment", {"type": name, **given, **changes})


def examples(texts=TEXTS) -> list[Example]:
    return [Example(content_id(t), {"text": t, "label": "x"}, f"d:{i}") for i, t in enumerate([*texts, "登 克 课 得 地"])]


@pytest.mark.parametrize("name", [name for name in names("augment") if name != "back_translation"])  # tests/inference has that
def test_copies_are_the_same_for_the_same_seed_and_others_for_another(name):
    made = list(part(name, copies=3, share=0.4).copies_of(examples()))
    assert made
    assert made == list(part(name, copies=3, share=0.4).copies_of(examples()))
    assert [e.id for e in made] != [e.id for e in part(name, copies=3, share=0.4, seed=1).copies_of(examples())]
    originals = {e.id: e for e in examples()}
    assert not {e.id for e in made} & set(originals)
    assert all(e.fields["label"] == "x" and e.fields["text"].strip() for e in made)
    # a row's copies do not depend on the rows around it
    alone = {e.fields["text"] for e in part(name, copies=3, share=0.4).copies_of([examples()[0], examples()[-1]])}
    assert alone <= {e.fields["text"] for e in made} or name == "homophone"


@settings(max_examples=80, deadline=None)
@given(st.text(alphabet=st.sampled_from("ab e\u0301é打开灯,。\n💡'-1"), max_size=24), st.integers(0, 99), st.sampled_from([0.05, 0.5, 1.0]))
def test_swap_delete_and_insert_keep_what_they_say_they_keep(content, seed, share):
    words = [unit[0] for unit in units(content)]
    swapped = part("swap", share=share).change(content, random.Random(seed))
    assert Counter(unit[0] for unit in units(content)) == Counter(words)
    assert Counter(swapped) == Counter(content)
    less = part("delete", share=share).change(content, random.Random(seed))
    assert len(less) <= len(content)
    assert bool(units(less)) == bool(words)
    more = part("insert", share=share).change(content, random.Random(seed))
    assert len(more) >= len(content)
    kept = iter(more)
    assert all(character in kept for character in content)  # a subsequence: all of it, in its order


def test_units_are_words_and_han_characters():
    assert [unit[0] for unit in units("don't e\u0301te\u0301 打开the灯 x-ray, 3.5 💡")] == [
        "don't", "e\u0301te\u0301", "打", "开", "the", "灯", "x-ray", "3", "5"]  # fmt: skip


def test_a_deleted_word_takes_one_space_along():
    found = {part("delete", share=0.1).change("one two three", random.Random(i)) for i in range(20)}
    assert found == {"two three", "one three", "one two"} or found == {" two three", "one three", "one two"}


def test_synonyms_stand_for_whole_words_and_keep_the_capital():
    change = part("synonym", share=1.0).change
    assert change("Light the lights; LIGHT", random.Random(0)) == "Lamp the lights; Lamp"
    assert re.fullmatch("(开启|启动)灯。", change("打开灯。", random.Random(0)))
    assert change("none of them 💡", random.Random(0)) == "none of them 💡"


def test_keyboard_slips_hit_neighbours():
    assert sorted(neighbours("s")) == sorted("adwezx")
    assert neighbours("é") == ""
    slipped = part("keyboard", share=1.0).change("Cat 灯", random.Random(1))
    assert all(new.lower() in neighbours(old.lower()) for old, new in zip("Cat", slipped))
    assert slipped[0].isupper()
    assert slipped.endswith(" 灯")


def test_homophones_are_characters_that_the_texts_use():
    rows = [Example("1", {"text": "客灯的 ok", "label": "x"}), Example("2", {"text": "克登地", "label": "x"})]
    first, second = part("homophone", share=1.0).copies_of(rows)
    assert first.fields["text"] == "克登地 ok"
    assert second.fields["text"] == "客灯的"


@pytest.mark.parametrize(("name", "file", "content", "message"), [
    ("synonym", "words.txt", "light\n", "words.txt:1: expected two words or more, separated by tabs or commas, got light"),
    ("synonym", "words.txt", "# nothing\n", "words.txt: expected lines of two words or more"),
    ("homophone", "sounds.txt", "light lamp\n", "sounds.txt: expected lines of a character and its reading, got none"),
])  # fmt: skip
def test_lists_that_are_none_are_refused(name, file, content, message):
    Path(file).write_text(content, encoding="utf-8")
    with pytest.raises(DataError, match=re.escape(message)):
        list(part(name).copies_of(examples()))


def test_only_training_rows_are_changed():
    rows = [{"text": f"say {i} things to the light {i}", "label": "ab"[i % 2]} for i in range(60)]
    Path("d.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    plain = create("task", {"type": "classify", "path": "d.jsonl"})
    more = create("task", {"type": "classify", "path": "d.jsonl", "augment": [{"type": "swap"}, {"type": "synonym", "path": "words.txt"}]})
    assert more.load("test") == plain.load("test")
    assert more.load("validation") == plain.load("validation")
    train = plain.load("train")
    assert more.load("train")[: len(train)] == train
    assert len(train) < len(more.load("train")) <= 3 * len(train)
    assert more.check() == []
