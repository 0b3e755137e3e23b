"""The conditional random field: units and features of both scripts, names that it has not seen, the same field after reading."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from yanmo.core.data import Span
from yanmo.core.errors import CorruptError, DataError
from yanmo.core.registry import create
from yanmo.models import store
from yanmo.models.crf import FILE, CrfModel, described, shape
from yanmo.tasks.ner import Ner
from yanmo.text.units import units

pytest.importorskip("pycrfsuite", reason="python-crfsuite is in the extra 'tasks'")

NAMES = ["Marie", "Paul", "Ada", "Alan", "Grace", "Zoe\u0301"]
SURNAMES = ["江泽民", "李鹏", "周恩来", "陈毅", "王选", "赵元任"]


def rows() -> list[dict]:
    found = []
    for i, name in enumerate(NAMES):
        found.append({"text": f"Dr. {name} went home 🏠", "spans": [[4, 4 + len(name), "PER"]]})
        found.append({"text": f"they saw Dr. {name}.", "spans": [[13, 13 + len(name), "PER"]]})
        found.append({"text": f"we live in {name}ville", "spans": [[11, 16 + len(name), "LOC"]]})
        found.append({"text": f"{SURNAMES[i]}同志到了{'北上'[i % 2]}京市", "spans": [[0, len(SURNAMES[i]), "PER"], [len(SURNAMES[i]) + 4, len(SURNAMES[i]) + 7, "LOC"]]})
        found.append({"text": f"会见{SURNAMES[i]}同志。", "spans": [[2, 2 + len(SURNAMES[i]), "PER"]]})
    return found


@pytest.fixture
def task(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("YANMO_LANG", "en")
    Path("names.jsonl").write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows()), encoding="utf-8")
    return Ner(path="names.jsonl", validation=0, test=0)


# ------------------------------------------------------------------------------------------------ units and features


def words(content: str) -> list[str]:
    return [content[a:b] for a, b in units(content)]


def test_units_of_both_scripts():
    assert words("U.S. don't e-mail @bob #ner 3.14, AT&T!") == ["U.S", ".", "don't", "e-mail", "@bob", "#ner", "3.14", ",", "AT&T", "!"]
    assert words("江泽民在Beijing，１９９８年。") == ["江", "泽", "民", "在", "Beijing", "，", "１９９８", "年", "。"]
    assert words("Zoe\u0301 한국어 か゚") == ["Zoe\u0301", "한국어", "か", "゚"]
    assert words(" \n\u3000") == []


@settings(max_examples=200, deadline=None)
@given(st.text(alphabet=st.characters() | st.sampled_from("江泽民 NewYork\u0301.'’👩\u200d🔬\n"), max_size=30))
def test_units_hold_everything_but_spaces_in_order(content):
    behind = 0
    for start, end in units(content):
        assert behind <= start < end
        assert not content[behind:start].strip()
        behind = end
    assert not content[behind:].strip()
    found = list(described(content, units(content)))
    assert len(found) == len(units(content))
    assert all(len(set(features)) == len(features) for features in found)


@pytest.mark.parametrize(("word", "form"), [("London", "Xx"), ("U.S", "X.X"), ("3-2", "d-d"), ("中", "c"), ("😀", "*"), ("𠀀", "c"), ("１９９８", "d"), ("McDonald's", "XxXx'x"), ("か", "c")])
def test_shapes(word, form):
    assert shape(word) == form


# ------------------------------------------------------------------------------------------------ the field


def test_it_finds_names_that_it_has_not_seen(task):
    model = create("model", "crf").fit_task(task)
    assert model.labels == task.names()
    examples = task.load("train")
    pairs = list(zip(examples, model.tag([e.fields["text"] for e in examples])))
    assert task.score(pairs)["entity_f1"] == 1.0
    unseen = model.tag(["Dr. Emmy went home", "会见钱学森同志。", "", " ", "nothing 没有"])
    assert unseen[0].spans == (Span(4, 8, "PER"),)
    assert unseen[1].spans == (Span(2, 5, "PER"),)
    assert [found.spans for found in unseen[2:]] == [(), (), ()]
    assert unseen[2].score is None
    assert all(0 < found.score <= 1 for found in unseen[:2])


def test_what_it_finds_in_a_text_depends_on_that_text_alone(task):
    model = CrfModel().fit_task(task)
    texts = [row["text"] for row in rows()]
    assert model.tag(texts) == [model.tag([text])[0] for text in texts]


@pytest.mark.parametrize("scheme", ["bio", "bioes"])
def test_saved_and_opened_it_is_the_same_without_pickle(task, tmp_path, scheme):
    chosen = task.changed(scheme=scheme)
    model = CrfModel(c1=0.01, iterations=50).fit_task(chosen)
    store.save(tmp_path / "a", model, None)
    store.save(tmp_path / "b", CrfModel(c1=0.01, iterations=50).fit_task(chosen), None)
    assert sorted(path.name for path in (tmp_path / "a").iterdir()) == ["config.json", FILE]
    for path in (tmp_path / "a").iterdir():
        assert path.read_bytes() == (tmp_path / "b" / path.name).read_bytes(), path.name
    opened = store.load(tmp_path / "a")
    assert opened.labels == chosen.names()
    assert not opened.generates
    texts = [row["text"] for row in rows()] + ["Dr. Emmy 见了钱学森"]
    assert opened.model.tag(texts) == model.tag(texts)


@pytest.mark.parametrize("damage", ["cut", "other", "labels"])
def test_a_damaged_directory_is_refused(task, tmp_path, damage):
    store.save(tmp_path / "m", CrfModel(iterations=5).fit_task(task), None)
    path, config = tmp_path / "m" / FILE, tmp_path / "m" / "config.json"
    if damage == "cut":
        path.write_bytes(path.read_bytes()[:-9])
    elif damage == "other":
        content = bytearray(path.read_bytes())
        content[200] ^= 1
        path.write_bytes(bytes(content))
    else:
        found = json.loads(config.read_text())
        found["id2label"] = {"0": "O", "1": "B-X"}
        config.write_text(json.dumps(found))
    with pytest.raises(CorruptError):
        store.load(tmp_path / "m")


def test_a_missing_file_is_named(task, tmp_path):
    store.save(tmp_path / "m", CrfModel(iterations=5).fit_task(task), None)
    (tmp_path / "m" / FILE).unlink()
    with pytest.raises(DataError, match=FILE):
        store.load(tmp_path / "m")
