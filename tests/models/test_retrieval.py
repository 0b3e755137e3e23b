"""TF-IDF retrieval of answers: scikit-learn's cosines, cuts by kind of question, fitted to the task, the same after reading."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from yanmo.core.errors import CorruptError, DataError, RequestError
from yanmo.core.registry import create
from yanmo.models import store
from yanmo.models.cuts import CUTS, kind_of
from yanmo.models.retrieval import RetrievalFamily, Retriever, sentence_places, terms

EN = "The stone lay in the hall. Mr. Li found it near Xi'an in 1956, and Dr. Ada Bell wrote about it. It weighs 3.5 kg! Nobody knows why."
ZH = "研墨是唐代的一方砚台。一九五六年李先生在西安把它挖了出来，重3.5公斤！现藏于陕西历史博物馆。没有人知道为什么。"


def rows(passages: int = 24) -> list[dict]:
    made = []
    for i in range(passages):
        year, name = 1900 + 7 * i, ["Ada Bell", "Tom Reed", "Eva Moss"][i % 3]
        en = f"The bridge over river {i} is old. {name} built bridge {i} in {year}. Boats pass under it every day 🚤."
        zh = f"第{i}座桥很古老。{year}年张三修建了这座桥{i}。每天都有船从下面经过。"
        made += [{"question": f"When was bridge {i} built?", "context": en, "answers": [str(year)]},
                 {"question": f"Who built bridge {i}?", "context": en, "answers": [name]},
                 {"question": f"什么时候修建了桥{i}？", "context": zh, "answers": [f"{year}年"]},
                 {"question": "Who sank the submarine?", "context": en, "answers": []}]  # fmt: skip
    return made


def task(data: list[dict] | None = None, **others):
    content = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in data or rows())
    Path("qa.jsonl").write_text(content, encoding="utf-8")
    return create("task", {"type": "qa", "path": "qa.jsonl", "test": 0.25, "validation": 0, **others})


# ------------------------------------------------------------------------------------------------ terms and cosines


def test_terms_of_both_languages():
    assert terms("The U.S. café's INK", "characters") == ["the", "u", "s", "café's", "ink"]
    assert terms("研墨Ink好", "characters") == ["ink", "研", "墨", "研墨", "好"]
    assert terms("e\u0301 ＡＢ", "characters") == terms("é ab", "characters")
    pytest.importorskip("rjieba")
    assert terms("北京大学在哪里", "words") == ["北京大学", "在", "哪里"]


def test_sentences_are_places_without_blanks():
    places = sentence_places(f"  {EN}\n\n{ZH} ")
    found = [f"  {EN}\n\n{ZH} "[start:end] for start, end in places]
    assert found[0] == "The stone lay in the hall."
    assert found[1].startswith("Mr. Li found it")
    assert found[-1] == "没有人知道为什么。"
    assert len(found) == 8
    assert sentence_places(" \n") == []


@pytest.mark.parametrize("question", ["Who found the stone near Xi'an?", "它重多少公斤？", "zebra", "stone stone hall"])
def test_cosines_are_those_of_scikit_learn(question, folder):
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.metrics.pairwise import cosine_similarity

    model = create("model", "retrieval").fit_task(task([*rows(4), {"question": "q", "context": EN, "answers": ["hall"]},
                                                        {"question": "q", "context": ZH, "answers": ["唐代"]}], test=0))  # fmt: skip
    passages = dict.fromkeys(row["context"] for row in [*rows(4), {"context": EN}, {"context": ZH}])
    sentences = [passage[start:end] for passage in passages for start, end in sentence_places(passage)]
    oracle = TfidfVectorizer(analyzer=lambda text: terms(text, "characters"), sublinear_tf=True).fit(sentences)
    assert sorted(oracle.vocabulary_) == model.vocabulary
    np.testing.assert_allclose(model.idf, oracle.idf_, atol=1e-12)
    for passage in (EN, ZH):
        places = sentence_places(passage)
        wanted = cosine_similarity(oracle.transform([question]), oracle.transform([passage[s:e] for s, e in places]))[0]
        score, place = model.retrieve(question, passage)
        assert place in places
        if set(terms(question, "characters")) <= set(model.vocabulary):  # scikit-learn's vectors are not lengthened by others
            assert score == pytest.approx(wanted.max(), abs=1e-12)
        if wanted.max() > 0:
            assert place == places[int(wanted.argmax())]


# ------------------------------------------------------------------------------------------------ cuts


@pytest.mark.parametrize(("question", "kind"), [
    ("When was it found?", "when"), ("HOW MANY are there?", "how many"), ("In which town?", "which"), ("Name it.", ""),
    ("什么时候发现的？", "when"), ("有多少人？", "how many"), ("为什么？", "why"), ("谁挖的？", "who"), ("在哪里？", "where"), ("他姓什么？", "what"),
    ("Who was she? When did she leave?", "when"),  # of several the last is asked
])  # fmt: skip
def test_kinds_of_question(question, kind):
    assert kind_of(question) == kind


def cut(name: str, question: str, content: str) -> str | None:
    place = CUTS[name](question, content, (0, len(content)))
    return None if place is None else content[place[0] : place[1]]


def test_each_cut():
    content = "In 1956 Mr. Li found the stone near Xi'an, and Dr. Ada Bell wrote about it."
    assert cut("sentence", "?", f"“{content}”") == content[:-1]
    assert cut("nearest clause", "Who found the stone?", content) == "In 1956 Mr. Li found the stone near Xi'an"
    assert cut("other clause", "Who found the stone?", content) == "and Dr. Ada Bell wrote about it"
    assert cut("behind", "Who found the stone?", content) == "near Xi'an, and Dr. Ada Bell wrote about it"
    assert cut("behind, one clause", "Who found the stone?", content) == "near Xi'an"
    assert cut("unasked", "Who found the stone near Xi'an in 1956?", content) == "and Dr. Ada Bell wrote about it"
    assert cut("name", "Who found it near Xi'an with Mr. Li?", content) == "Dr. Ada Bell"
    assert cut("number", "When?", content) == "1956"
    assert cut("number", "What about 1956?", content) is None
    assert cut("number", "多重？", "重3.5公斤") == "3.5"
    assert cut("number", "哪一年？", "它于1956年3月2日出土") == "1956年3月2日"
    assert cut("number", "How many?", "It took about 25 years.") == "25 years"
    assert cut("name", "?", "nothing here is named") is None


@settings(max_examples=120, deadline=None)
@given(question=st.text(max_size=20), content=st.text(st.characters() | st.sampled_from("一墨。，,. \n3aBA🐋\u0301"), max_size=60))
def test_cuts_are_places_within_the_sentence_and_answers_stand_in_the_passage(question, content):
    for place in sentence_places(content):
        for name in CUTS:
            found = CUTS[name](question, content, place)
            assert found is None or place[0] <= found[0] < found[1] <= place[1]
    model = Retriever("characters", ["墨"], np.ones(1), 1, {"": "unasked"}, None)
    prediction = model.answer(question, content)
    if content.strip():
        (span,) = prediction.spans
        assert content[span.start : span.end] == prediction.answer
    else:
        assert prediction.answer == ""


# ------------------------------------------------------------------------------------------------ fitting


def test_it_learns_which_cut_a_question_gets_and_when_there_is_none(folder):
    asked = task()
    model = create("model", "retrieval").fit_task(asked)
    assert model.cuts["when"] == "number"
    assert model.cuts["who"] in ("name", "unasked")
    held = asked.load("test")
    right = [model.answer(e.fields["question"], e.fields["text"]).answer == (e.fields["answers"] or [{"text": ""}])[0]["text"] for e in held]
    assert np.mean(right) > 0.9
    assert not model.answer("Who sank the submarine?", held[0].fields["text"]).answer or model.bound is not None


def test_where_every_question_has_an_answer_one_is_always_given(folder):
    model = create("model", "retrieval").fit_task(task([row for row in rows() if row["answers"]]))
    assert model.bound is None
    assert model.answer("Quite another thing?", EN).answer


def test_another_task_is_refused(folder):
    Path("l.jsonl").write_text('{"text": "a", "label": "x"}\n{"text": "b", "label": "y"}\n')
    with pytest.raises(RequestError, match="classify"):
        create("model", "retrieval").fit_task(create("task", {"type": "classify", "path": "l.jsonl"}))


# ------------------------------------------------------------------------------------------------ on disk


def test_saved_and_read_it_answers_the_same_and_needs_no_scikit_learn(folder):
    model = create("model", "retrieval").fit_task(task())
    for name in ("a", "b"):
        store.save(name, model, None)
    loaded = store.load("a")
    assert loaded.head == "span"
    asked = [("When was it found?", EN), ("谁挖的？", ZH), ("Who?", "🐋"), ("什么时候修建了桥3？", rows()[14]["context"])]
    assert [loaded.model.answer(*pair) for pair in asked] == [model.answer(*pair) for pair in asked]
    for file in Path("a").iterdir():
        assert file.read_bytes() == (Path("b") / file.name).read_bytes()
    context = rows()[1]["context"]
    code = ("import sys; from yanmo.models import store; "
            f"print(store.load('a').model.answer('Who built bridge 0?', {context!r}).answer, 'sklearn' in sys.modules)")  # fmt: skip
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["Ada", "Bell", "False"]


@pytest.mark.parametrize("change", [{"units": "letters"}, {"cuts": {"": "magic"}}, {"cuts": None}, {"bound": "much"}])
def test_parts_that_do_not_fit_together_are_refused(folder, change):
    store.save("a", create("model", "retrieval").fit_task(task(rows(3))), None)
    with pytest.raises((CorruptError, DataError)):
        RetrievalFamily().read(Path("a"), {**json.loads(Path("a/config.json").read_text(encoding="utf-8")), **change})
