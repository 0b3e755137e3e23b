"""Baselines that write: the first sentences, TextRank, a dictionary; fitted on the task, saved, opened, the same."""

import json
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from yanmo.core.errors import CorruptError, DataError, RecipeError, RequestError
from yanmo.core.registry import create
from yanmo.models import alignment, cedict
from yanmo.models.store import load, save
from yanmo.models.textrank import rank
from yanmo.text.segment import spaced, words
from yanmo.text.sentences import joined, sentences

NEWS = "The river rose on Monday. Dr. Li of the U.S. office said the river rose fast! Birds sang. The fast river rose again on Monday?\nNobody was hurt 🙂."
ZH = "周一河水上涨。李博士说：“河水涨得很快！”鸟在唱歌。河水在周一又很快上涨？无人受伤"


def rows(task, content, **settings):
    Path("train.jsonl").write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in content), encoding="utf-8")
    return create("task", {"type": task, "path": {"train": "train.jsonl"}, "validation": 0, "test": 0, **settings})


@pytest.fixture
def news(folder):
    return rows("summarize", [{"text": NEWS, "summary": "x"}, {"text": ZH, "summary": "y"}, {"text": "Birds sang. A dog ran.", "summary": "z"}])


def opened(model, place):
    """Saved twice with the same bytes, and opened."""
    for name in "ab":
        save(Path(place) / name, model, None)
    for file in (Path(place) / "a").iterdir():
        assert file.read_bytes() == (Path(place) / "b" / file.name).read_bytes()
    return load(Path(place) / "a").model


def test_sentences_of_both_languages():
    assert sentences(NEWS) == ["The river rose on Monday.", "Dr. Li of the U.S. office said the river rose fast!", "Birds sang.",
                               "The fast river rose again on Monday?", "Nobody was hurt 🙂."]  # fmt: skip
    assert sentences(ZH) == ["周一河水上涨。", "李博士说：“河水涨得很快！”", "鸟在唱歌。", "河水在周一又很快上涨？", "无人受伤"]
    assert sentences(" \n ") == []
    assert joined(["一。", "two.", "three"]) == "一。two. three"
    assert "".join("".join(sentences(text)).split()) == "".join(text.split()) if (text := NEWS + ZH) else False


def test_lead_is_the_first_sentences(news, folder):
    model = opened(create("model", {"type": "lead", "sentences": 2}).fit_task(news), folder)
    assert model.write([NEWS, ZH, "", "no end"]) == [
        "The river rose on Monday. Dr. Li of the U.S. office said the river rose fast!", "周一河水上涨。李博士说：“河水涨得很快！”", "", "no end"]  # fmt: skip
    assert model.unfit(news) is None
    assert model.unfit(rows("translate", [{"en": "a", "zh": "b"}])) is not None


def test_textrank_takes_what_the_others_resemble(news, folder):
    model = opened(create("model", {"type": "textrank"}).fit_task(news), folder)
    assert model.write([NEWS])[0] == "The fast river rose again on Monday?"
    assert model.write(["Aa. Aa. Aa.", "", "one"]) == ["Aa.", "", "one"]  # of equals the first
    chinese = create("model", {"type": "textrank", "sentences": 2}).fit_task(create("task", {"type": "summarize", "path": {"train": "train.jsonl"}, "language": "zh", "validation": 0, "test": 0}))
    assert chinese.write([ZH]) == ["周一河水上涨。河水在周一又很快上涨？"]
    assert model.write([NEWS, ZH]) == [*model.write([NEWS]), *model.write([ZH])]


def test_ranks_are_pageranks():
    weights = np.random.default_rng(0).random((7, 7))
    np.fill_diagonal(weights, 0)
    weights[3] = 0  # it points nowhere
    moves = np.divide(weights, weights.sum(1, keepdims=True), out=np.zeros_like(weights), where=weights.sum(1, keepdims=True) > 0)
    want = np.linalg.solve(np.eye(7) - 0.85 * moves.T, np.full(7, 0.15))
    np.testing.assert_allclose(rank(weights), want, atol=1e-6)


# ---------------------------------------------------------------------------------------------- the dictionary


def model_one(pairs, rounds):
    """IBM Model 1 by the book: dictionaries and loops."""
    t = {}
    for own, other in pairs:
        for f in other:
            for e in (0, *own):
                t[f, e] = 1.0
    for _ in range(rounds):
        counts, totals = Counter(), Counter()
        for own, other in pairs:
            for f in other:
                norm = sum(t[f, e] for e in (0, *own))
                for e in (0, *own):
                    counts[f, e] += t[f, e] / norm
                    totals[e] += t[f, e] / norm
        t = {(f, e): count / totals[e] for (f, e), count in counts.items()}
    return t


@pytest.mark.parametrize("rounds", [1, 5])
def test_model_one_is_the_books(rounds):
    dice = np.random.default_rng(1)
    pairs = [(dice.integers(1, 9, dice.integers(1, 7)).tolist(), dice.integers(1, 8, dice.integers(1, 7)).tolist()) for _ in range(40)]
    links = alignment.Links([*pairs, ([], [1]), ([1], [])])
    found = alignment.translation_probabilities(links, rounds)
    want = model_one(pairs, rounds)
    assert {(int(f), int(e)) for e, f in zip(links.source, links.target)} == set(want)
    for e, f, p in zip(links.source, links.target, found):
        assert p == pytest.approx(want[int(f), int(e)], rel=1e-9)


def test_model_one_without_pairs():
    links = alignment.Links([])
    assert alignment.entries(links, alignment.translation_probabilities(links, 3)) == {}


PAIRS = [("Open the file", "打开文件"), ("Open the window", "打开窗口"), ("Close the window", "关闭窗口"), ("close the file", "关闭文件"),
         ("the toolbar", "工具栏"), ("Open the toolbar", "打开工具栏"), ("file", "文件"), ("window", "窗口"), ("close", "关闭")] * 3  # fmt: skip


@pytest.fixture
def parallel(folder):
    return rows("translate", [{"en": a, "zh": b} for a, b in PAIRS])


def test_a_dictionary_is_learned_and_translates_word_by_word(parallel, folder):
    model = create("model", {"type": "dictionary"}).fit_task(parallel)
    assert model.write(["Open the file", "Close the toolbar", "close 3.5 Writer files 🙂", ""]) == [
        "打开文件", "关闭工具栏", "关闭3.5 Writer files 🙂", ""]  # fmt: skip
    assert opened(model, folder).write(["Close the toolbar"]) == ["关闭工具栏"]
    assert model.unfit(parallel) is None
    assert "from en to zh" in model.unfit(rows("translate", [{"en": "a", "zh": "b"}], source="zh", target="en")).render("en")
    back = create("model", {"type": "dictionary", "order": 1}).fit_task(rows("translate", [{"en": a, "zh": b} for a, b in PAIRS], source="zh", target="en"))
    assert "window" in back.write(["打开窗口"])[0].lower()


CEDICT = """# CC-CEDICT
銀行 银行 [yin2 hang2] /bank/CL:家[jia1]/
岸 岸 [an4] /bank/shore/
軟件 软件 [ruan3 jian4] /software (Tw: 軟體)/
打開 打开 [da3 kai1] /to open; to switch on/
工具欄 工具栏 [gong1 ju4 lan2] /tool bar (computing)/
吳 吴 [Wu2] /surname Wu/
"""


def test_a_dictionary_that_is_given(folder):
    Path("cedict.u8").write_text(CEDICT, encoding="utf-8")
    assert list(cedict.glosses(Path("cedict.u8"))) == [("银行", "bank"), ("岸", "bank"), ("岸", "shore"), ("软件", "software"), ("打开", "open"), ("打开", "switch on"), ("工具栏", "tool bar")]
    task = rows("translate", [{"en": "x", "zh": "打开银行"}, {"en": "y", "zh": "软件"}])
    model = create("model", {"type": "dictionary", "dictionary": "cedict.u8"}).fit_task(task)
    assert model.write(["Open bank", "switch on software", "tool bar"]) == ["打开银行", "打开软件", "工具栏"]  # by the words before
    back = create("model", {"type": "dictionary", "dictionary": "cedict.u8"}).fit_task(rows("translate", [{"zh": "打开", "en": "open the bank"}], source="zh", target="en"))
    assert back.write(["打开银行"]) == ["open bank"]
    with pytest.raises(RecipeError, match="left out where a dictionary is given"):
        create("model", {"type": "dictionary", "dictionary": "x", "rounds": 3})
    Path("cedict.u8").write_text(CEDICT + "no entry\n", encoding="utf-8")
    with pytest.raises(DataError, match=r"cedict.u8:8: expected an entry of CC-CEDICT"):
        list(cedict.glosses(Path("cedict.u8")))
    with pytest.raises(DataError, match="between en and zh"):
        create("model", {"type": "dictionary", "dictionary": "cedict.u8"}).fit_task(rows("translate", [{"fr": "a", "en": "b"}], source="fr", target="en"))


def test_words_and_back():
    assert words("Don't re-open 3.5% of e\u0301tat, 👩‍👩‍👧?", "en")[:6] == ["Don't", "re-open", "3.5", "%", "of", "état"]
    assert spaced(words("Hello, world (really)! $5", "en")) == "Hello, world (really)! $5"
    assert spaced(words("用Writer打开3个文件，好吗？", "zh")) == "用Writer打开3个文件，好吗？"
    assert spaced(["Open", "Writer", "文件", "now"]) == "Open Writer文件now"


def test_baselines_of_other_tasks_and_broken_folders_are_refused(news, parallel, folder):
    for kind, task in (("lead", parallel), ("textrank", parallel), ("dictionary", rows("summarize", [{"text": "a", "summary": "b"}]))):
        with pytest.raises(RequestError, match=f"a model for the task '{task.type}'"):
            create("model", kind).fit_task(task)
    parallel = rows("translate", [{"en": a, "zh": b} for a, b in PAIRS])
    save(folder / "d", create("model", "dictionary").fit_task(parallel), None)
    save(folder / "t", create("model", "textrank").fit_task(rows("summarize", [{"text": NEWS, "summary": "x"}])), None)
    (folder / "d" / "entries.json").write_text('{"vocabulary": ["a"], "entries": {"x": 5}}')
    (folder / "t" / "terms.json").write_text('{"a": -1}')
    for name in "dt":
        with pytest.raises((CorruptError, DataError)):
            load(folder / name)
