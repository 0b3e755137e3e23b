"""The four formats of entities: the same texts and spans out of each, and the words of every refusal."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from yanmo.core.data import Span
from yanmo.core.errors import DataError
from yanmo.tasks.ner import Ner
from yanmo.tasks.readers.columns import joined
from yanmo.tasks.readers.kinds import format_of


@pytest.fixture(autouse=True)
def _folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("YANMO_LANG", "en")


def put(name: str, content: str | bytes) -> str:
    path = Path(name)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content if isinstance(content, bytes) else content.encode("utf-8"))
    return name


def read(name: str, **settings) -> list[tuple[str, list[tuple[str, str]]]]:
    """Each text with its entities as strings."""
    task = Ner(path=name, validation=0, test=0, **settings)
    return [(e.fields["text"], [(e.fields["text"][s.start : s.end], s.label) for s in e.fields["spans"]]) for e in task.load("train")]


def refusal(name: str, **settings) -> str:
    with pytest.raises(DataError) as caught:
        Ner(path=name, **settings).check()
    assert "\n" not in str(caught.value)
    assert caught.value.exit_status == 2
    return str(caught.value)


# ------------------------------------------------------------------------------------------------ the same out of each

MARIE = ("Marie Curie lived in Paris .", [("Marie Curie", "PER"), ("Paris", "LOC")])
CURIE = ("居里夫人住在巴黎👩‍🔬。", [("居里夫人", "PER"), ("巴黎", "LOC")])


def test_spans_of_json_lines_as_mappings_and_as_lists():
    rows = [{"text": MARIE[0], "spans": [{"start": 0, "end": 11, "label": "PER"}, {"start": 21, "end": 26, "label": "LOC"}]},
            {"text": CURIE[0], "spans": [[6, 8, "LOC"], [0, 4, "PER"]]}, {"text": "nothing here e\u0301", "spans": []}]  # fmt: skip
    put("a.jsonl", "\n".join(json.dumps(row, ensure_ascii=False) for row in rows))
    assert read("a.jsonl") == [MARIE, CURIE, ("nothing here e\u0301", [])]


def test_fields_of_other_names():
    row = {"data": CURIE[0], "label": [[0, 4, "PER"], [6, 8, "LOC"]], "lang": "zh"}
    put("a.jsonl", json.dumps(row, ensure_ascii=False))
    assert read("a.jsonl", fields={"text": "data", "spans": "label"}) == [CURIE]
    row = {"text": CURIE[0], "entities": [{"start_offset": 6, "end_offset": 8, "type": "LOC"}]}
    put("b.jsonl", json.dumps(row, ensure_ascii=False))
    fields = {"spans": "entities", "start": "start_offset", "end": "end_offset", "label": "type"}
    assert read("b.jsonl", fields=fields) == [(CURIE[0], [("巴黎", "LOC")])]


def test_columns_of_words_and_of_characters():
    put("a.conll", "-DOCSTART- -X- O\n\n# a comment\nMarie NNP B-PER\nCurie NNP I-PER\nlived VBD O\nin IN O\nParis NNP B-LOC\n. . O\n\n\n")
    assert read("a.conll") == [MARIE]
    lines = [f"{c}\t{t}" for c, t in zip("居里夫人住在巴黎。", ["B-PER", "M-PER", "M-PER", "E-PER", "O", "O", "B-LOC", "E-LOC", "O"])]
    put("b.bmes", "\n".join(lines) + "\n\t\n" + "A\tS-ORG\nB\tO\r\n")
    assert read("b.bmes") == [("居里夫人住在巴黎。", CURIE[1]), ("AB", [("A", "ORG")])]


def test_iob1_and_bilou():
    put("a.iob", "江\tI-PER\n泽民\tB-PER\n在 \tO\n北京\tI-LOC\nNew\tI-LOC\n")
    assert "repair: true" in refusal("a.iob")
    assert read("a.iob", repair=True) == [("江泽民在北京 New", [("江", "PER"), ("泽民", "PER"), ("北京 New", "LOC")])]
    put("b.txt", "New\tB-LOC\nYork\tI-LOC\nCity\tL-LOC\nand\tO\nRome\tU-LOC\n")
    assert read("b.txt") == [("New York City and Rome", [("New York City", "LOC"), ("Rome", "LOC")])]


def test_a_word_that_is_a_hash_is_no_comment():
    put("a.conll", "#\tO\n#Paris\tB-LOC\n# O\n")
    assert read("a.conll") == [("# #Paris #", [("#Paris", "LOC")])]


def test_brat():
    put("set/one.txt", "Marie Curie\nlived in Paris .")
    put("set/one.ann", "T1\tPER 0 11\tMarie Curie\nR1\tlives Arg1:T1 Arg2:T2\n#1\tNote T1\tx\nT2\tLOC 21 26\tParis\n")
    put("set/two.txt", CURIE[0])
    put("set/two.ann", "T1\tPER 0 4\t居里夫人\nT2\tLOC 6 8\t巴黎\n")
    assert read("set") == [("Marie Curie\nlived in Paris .", MARIE[1]), CURIE]
    assert {str(file) for file in Ner(path="set").files()} == {f"set/{n}.{e}" for n in ("one", "two") for e in ("ann", "txt")}


def test_words_with_parts_of_speech():
    put("a.txt", "中共中央/nt  总书记/n  江/nr  泽民/nr  、/w  李鹏/nr  到/v  北京/ns  ，/w  １９９８/m\n\n欧阳/nr  修/nr  周/nr  恩来/nr  说/v  Windows/nx  95/m  ok/v\n")
    assert read("a.txt") == [
        ("中共中央总书记江泽民、李鹏到北京，１９９８", [("中共中央", "nt"), ("江泽民", "nr"), ("李鹏", "nr"), ("北京", "ns")]),
        ("欧阳修周恩来说 Windows 95 ok", [("欧阳修", "nr"), ("周恩来", "nr")]),
    ]
    renamed = read("a.txt", entities={"nr": "PER", "nx": "X"})
    assert renamed[1] == ("欧阳修周恩来说 Windows 95 ok", [("欧阳修", "PER"), ("周恩来", "PER"), ("Windows", "X")])


def test_words_joined():
    assert joined(["Ａ", "B", "中", "C", "c", "。", "한국", "어"]) == ("Ａ B 中 C c 。 한국 어", [(0, 1), (2, 3), (4, 5), (6, 7), (8, 9), (10, 11), (12, 14), (15, 16)])
    assert joined(["中", "国", "。", "𠀀"])[0] == "中国。𠀀"
    assert joined(["A", "B"], single=True)[0] == "AB"


@pytest.mark.parametrize(("content", "form"), [
    ("EU B-ORG\nrejects O\n", "columns"), ("EU\tB-ORG\n\nx\tO\n", "columns"), ("江/nr  泽民/nr\n", "word_tags"),
    ("1/2/m 的/u\n", "word_tags"),
])  # fmt: skip
def test_a_txt_is_known_by_what_stands_in_it(content, form):
    assert format_of(Path(put("a.txt", content))) == form


def test_a_txt_that_is_nothing_of_that_kind():
    put("a.txt", "Just a text.\n")
    assert refusal("a.txt") == "a.txt: expected a token and its tag a line, or words with a tag each (word/tag), got neither - say which it is with 'format:'"


# ------------------------------------------------------------------------------------------------ refusals


def rows(*spans) -> str:
    return "\n".join(json.dumps({"text": "居里夫人 in 巴黎", "spans": list(found)}, ensure_ascii=False) for found in spans)


@pytest.mark.parametrize(("content", "message"), [
    (rows([[0, 4, "PER"]], [[8, 12, "LOC"]]), "a.jsonl:2: expected entities within the text's characters, [0, 10), got [8, 12) 'LOC'"),
    (rows([[-1, 4, "PER"]]), "a.jsonl:1: expected entities within the text's characters, [0, 10), got [-1, 4) 'PER'"),
    (rows([[4, 4, "PER"]]), "a.jsonl:1: expected entities within the text's characters, [0, 10), got [4, 4) 'PER'"),
    (rows([[4, 5, "PER"]]), "a.jsonl:1: expected entities that hold some text, got [4, 5) 'PER', which is blank"),
    (rows([[0, 4, "PER"], [2, 7, "LOC"]]), "a.jsonl:1: expected entities that do not overlap, got '夫人 in' 'LOC' across '居里夫人' 'PER' - 'overlaps: longest' keeps the longest of them"),
    (rows([[0, "4", "PER"]]), "a.jsonl:1: field 'spans' expected a list of {start, end, label}, got [0, '4', 'PER']"),
    (rows([[0, True, "PER"]]), "a.jsonl:1: field 'spans' expected a list of {start, end, label}, got [0, True, 'PER']"),
    (rows([{"start": 0, "end": 4}]), "a.jsonl:1: field 'spans' expected a list of {start, end, label}, got {'start': 0, 'end': 4}"),
    ('{"text": "", "spans": []}', "a.jsonl:1: expected some text, got an empty one"),
    ('{"text": "\\ud83d", "spans": []}', "a.jsonl:1: expected Unicode text, got half of a surrogate pair"),
    ('{"text": "a", "span": []}', "a.jsonl:1: field 'spans' is missing - did you mean 'span'?"),
    ('{"text": 1, "spans": []}', "a.jsonl:1: field 'text' expected a string, got 1"),
    ('{"text": "a", "spans": {}}', "a.jsonl:1: field 'spans' expected a list of {start, end, label}, got {}"),
    ('{"text": "a", "spans": []}', "a.jsonl: expected at least one entity, got none"),
])  # fmt: skip
def test_a_bad_row_of_spans(content, message):
    put("a.jsonl", content)
    assert refusal("a.jsonl") == message


def test_the_first_five_offenders_are_named_and_the_others_counted():
    put("a.jsonl", rows(*([[0, 40 + i, "PER"]] for i in range(8))))
    assert refusal("a.jsonl") == (
        "a.jsonl:1: expected entities within the text's characters, [0, 10), got [0, 40) 'PER'; so too a.jsonl:2 ([0, 41) 'PER'), "
        "a.jsonl:3 ([0, 42) 'PER'), a.jsonl:4 ([0, 43) 'PER'), a.jsonl:5 ([0, 44) 'PER') and 3 more")  # fmt: skip


@pytest.mark.parametrize(("content", "message"), [
    ("EU\tB-ORG\nsaid\tX\n", "a.bio:2: expected a token and its tag (O, B-…, I-…), got 'said\\tX'"),
    ("EU\tB-ORG\nsaid\n", "a.bio:2: expected a token and its tag (O, B-…, I-…), got 'said'"),
    ("EU\tB-ORG\n\tO\n", "a.bio:2: expected a token and its tag (O, B-…, I-…), got '\\tO'"),
    ("EU\tO\nof\tI-ORG\nall\tI-ORG\n", "a.bio:2: expected BIO: B-ORG begins an entity, got O I-ORG I-ORG - 'repair: true' reads what is there, as conlleval does"),
    ("EU\tB-ORG\nof\tI-LOC\n", "a.bio:2: expected BIO: B-LOC begins an entity, got B-ORG I-LOC - 'repair: true' reads what is there, as conlleval does"),
    ("EU\tB-ORG\nof\tO\nX\tS-ORG\n", "a.bio:1: expected BIOES: B-ORG begins an entity, E-ORG ends it, S-ORG is one, got B-ORG O - 'repair: true' reads what is there, as conlleval does"),
])  # fmt: skip
def test_bad_columns(content, message):
    put("a.bio", content)
    assert refusal("a.bio") == message


def test_mixed_encodings_name_the_lines():
    lines = ["江\tB-PER".encode(), "泽\tI-PER".encode("gbk"), "民\tI-PER".encode(), "在\tO".encode("gbk")]
    put("a.bio", b"\n".join(lines))
    assert refusal("a.bio") == ("a.bio:2: expected UTF-8 text, got byte 0xd4 at position 1; so too a.bio:4 (byte 0xd4 at position 1)"
                                " - convert the file to UTF-8")  # fmt: skip
    put("a.jsonl", rows([[0, 4, "PER"]]).encode("utf-16"))
    assert refusal("a.jsonl").startswith("a.jsonl:1: expected UTF-8 text, got byte 0xff at position 1")


@pytest.mark.parametrize(("ann", "message"), [
    ("T1\tPER 0 4\t居里夫\n", "a.ann:1: expected '居里夫人', as the text has it there, got '居里夫' - offsets count characters, not bytes"),
    ("T1\tPER 0 2;3 4\t居里 人\n", "a.ann:1: expected an entity in one piece, got 'PER 0 2;3 4'"),
    ("T1 PER 0 4 居里夫人\n", "a.ann:1: expected a line of T1<TAB>LABEL START END<TAB>TEXT, got 'T1 PER 0 4 居里夫人'"),
    ("T1\tPER 0 99\t居里夫人\n", "a.ann:1: expected entities within the text's characters, [0, 8), got [0, 99) 'PER'"),
])  # fmt: skip
def test_bad_annotations(ann, message):
    put("a.txt", "居里夫人住在巴黎")
    put("a.ann", ann)
    assert refusal("a.ann") == message


def test_brat_needs_both_files():
    put("a.ann", "T1\tPER 0 4\t居里夫人\n")
    assert refusal("a.ann") == "a.ann: expected a.txt beside it, got none"
    put("b.txt", "居里夫人")
    assert refusal("b.txt", format="brat") == "b.txt: expected b.ann beside it, got none"


def test_a_word_without_a_tag():
    put("a.txt", "江/nr 泽民\n")
    assert refusal("a.txt", format="word_tags") == "a.txt:1: expected words with a tag each (word/tag), got '泽民'"


def test_settings_without_effect_are_errors():
    put("a.jsonl", rows([[0, 4, "PER"]]))
    assert refusal("a.jsonl", repair=True) == "ner.repair: expected files in the format 'columns', got a.jsonl: spans"
    assert refusal("a.jsonl", entities={"PRE": "人"}) == "ner.entities: expected types of entities that the data has, got PRE - did you mean 'PER'?"
    put("a.bio", "EU\tB-ORG\n")
    assert refusal("a.bio", fields={"text": "x"}) == "ner.fields: expected files in the format 'spans', got a.bio: columns"


def test_of_overlapping_entities_the_longest_may_be_kept():
    put("a.jsonl", rows([[0, 2, "X"], [0, 4, "PER"], [8, 10, "LOC"], [8, 10, "LOC"]]))
    assert read("a.jsonl", overlaps="longest") == [("居里夫人 in 巴黎", [("居里夫人", "PER"), ("巴黎", "LOC")])]
    said = Ner(path="a.jsonl", overlaps="longest", labels=["PER", "LOC"]).check()
    assert [str(concern) for concern in said] == ["1 entities overlap longer ones and were left out"]


def test_spaces_at_the_ends_are_left_out_and_said():
    put("a.jsonl", rows([[0, 5, "PER"]], [[4, 7, "X"]]))
    task = Ner(path="a.jsonl", validation=0, test=0)
    assert [e.fields["spans"] for e in task.load("train")] == [(Span(0, 4, "PER"),), (Span(5, 7, "X"),)]
    assert "2 entities had spaces at their ends, which were left out" in [str(c) for c in task.check()]
