"""What models with a head say of texts: through windows, in any company, and on the command line."""

import json
from itertools import pairwise

import pytest
import torch

import yanmo
from tests.inference.tiny import tokenizer
from yanmo.cli import main
from yanmo.core.errors import RequestError
from yanmo.models.reader import Reader
from yanmo.models.store import save
from yanmo.models.tagger import Tagger
from yanmo.models.transformer import TransformerModel

TEXTS = ["Marie Curie lived in Paris 🗼, café.", "曹操字孟德，沛国谯县人。话说天下大势，分久必合，合久必分。", "e\u0301"]
NAMES = ["O", "B-PER", "I-PER"]


def build(kind, context=24):
    rng = torch.Generator().manual_seed(4)
    backbone = TransformerModel(architecture="encoder", depth=1, width=32, heads=2, context=context).build(tokenizer(), rng)
    model = Tagger(backbone, 3) if kind == "tag" else Reader(backbone)
    model.initialise(rng)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += 0.2 * torch.randn(parameter.shape, generator=rng)
    return model


@pytest.fixture
def place(request, tmp_path):
    kind, taught = request.param
    save(tmp_path / "model", build(kind), tokenizer(), labels=NAMES if kind == "tag" else None, extra=taught)
    return tmp_path / "model"


@pytest.mark.parametrize("place", [("tag", None)], indirect=True)
def test_tags_do_not_depend_on_company_and_stand_in_the_text(place):
    model = yanmo.load(place)
    together = model.tag([*TEXTS, "。".join(TEXTS * 3), ""])
    for content, found in zip([*TEXTS, "。".join(TEXTS * 3), ""], together):
        [alone] = model.tag([content])
        assert alone.spans == found.spans
        assert found.text == content
        assert all(content[s.start : s.end].strip() == content[s.start : s.end] != "" for s in found.spans)
        assert all(one.start <= two.start for one, two in pairwise(found.spans))
    assert any(found.spans for found in together)


@pytest.mark.parametrize("place", [("span", {"answers": {"none": True, "threshold": -1e9, "tokens": 4}})], indirect=True)
def test_answers_are_parts_of_the_text_and_none_is_as_taught(place):
    model = yanmo.load(place)
    long = "".join(TEXTS * 4)
    assert model.answer("who?", long).answer == ""  # the threshold that it was saved with
    found = model.answer("who?", long, none=False)
    [span] = found.spans
    assert long[span.start : span.end] == found.answer != ""
    assert 0 < found.score <= 1
    assert len(tokenizer().encode(found.answer)) <= 6
    assert model.answers([("who?", long), ("谁", TEXTS[0])], none=False)[0] == found
    with pytest.raises(RequestError, match="a model that can tag texts"):
        model.tag(["a"])
    with pytest.raises(RequestError, match="a list of strings"):
        model.answers([("who", 3)])


@pytest.mark.parametrize("place", [("tag", None)], indirect=True)
def test_the_command_line_prints_spans(place, capsys):
    assert main(["predict", str(place), *TEXTS, "--json"]) == 0
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    for content, line, found in zip(TEXTS, lines, yanmo.load(place).tag(TEXTS), strict=True):
        assert line["text"] == content
        assert [(s["start"], s["end"], s["label"]) for s in line["spans"]] == [(s.start, s.end, s.label) for s in found.spans]
        assert all(content[s["start"] : s["end"]] == s["text"] for s in line["spans"])
    assert main(["predict", str(place), TEXTS[0], "--question", "who?"]) == 2
    assert "a model that can answer questions about a text" in capsys.readouterr().err


@pytest.mark.parametrize("place", [("span", None)], indirect=True)
def test_the_command_line_prints_answers(place, capsys, tmp_path):
    (tmp_path / "asked.jsonl").write_text("".join(json.dumps({"text": t, "question": "谁?"}, ensure_ascii=False) + "\n" for t in TEXTS), encoding="utf-8")
    assert main(["predict", str(place), "--file", str(tmp_path / "asked.jsonl"), "--json"]) == 0
    for line, content in zip(map(json.loads, capsys.readouterr().out.splitlines()), TEXTS, strict=True):
        assert line["question"] == "谁?"
        assert content[line["start"] : line["end"]] == line["answer"] != ""
    assert main(["predict", str(place), TEXTS[0]]) == 2
    assert "a question for each text" in capsys.readouterr().err
    assert main(["predict", str(place), TEXTS[0], "--question", "where?"]) == 0
    assert capsys.readouterr().out.endswith("\twhere?\n")
