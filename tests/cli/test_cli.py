"""The command line on wrong input: one line, exit status 2 (or 1), nothing written."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from yanmo.cli import main

TINY = """\
name: tiny
stages:
  - {name: count, "tests.core.parts:Count": {path: data}}
  - {name: two, "tests.core.parts:Double": {}}
"""


@pytest.fixture
def tiny(folder):
    (folder / "data").mkdir()
    (folder / "data" / "a.txt").write_text("研墨", encoding="utf-8")
    (folder / "tiny.yaml").write_text(TINY)
    return folder


@pytest.fixture
def fails(capsys):
    def go(*arguments: str, status: int = 2) -> str:
        assert main(list(arguments)) == status
        out, err = capsys.readouterr()
        assert out == ""
        assert err.count("\n") == 1
        assert err.startswith("yanmo: ")
        return err.strip()

    return go


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["run", "missing.yaml"], "missing.yaml: expected a recipe (a YAML file), got no such file"),
        (["run", "tiny.yaml", "two.tims=1"], "unknown key 'tims' - did you mean 'times'?"),
        (["run", "tiny.yaml", "--until", "tow"], "did you mean 'two'?"),
        (["run", "tiny.yaml", "--redo", "tow"], "did you mean 'two'?"),
        (["run", "tiny.yaml", "count.path=nowhere"], "no such path: nowhere"),
        (["run", "tiny.yaml", "--run-dir", "tiny.yaml"], "expected a run directory, got a file"),
        (["run"], "Missing argument"),
        (["rnu", "tiny.yaml"], "No such command"),
        (["run", "tiny.yaml", "--fast"], "No such option"),
        (["verify", "nowhere"], "expected a run directory"),
        (["list", "modle"], "did you mean 'model'?"),
        (["show", "model", "transfomer"], "did you mean 'transformer'?"),
        (["score", "nowhere", "nofile.txt"], "no such file"),
        (["predict", "nowhere"], "expected a TEXT or --file FILE"),
        (["new", "mine"], "--text FOLDER, --labels FILE, or both"),
        (["new", "mine", "--text", "nowhere"], "no such path: nowhere"),
        (["new", "tiny", "--text", "data"], "tiny.yaml: expected a new file, got it exists"),
        (["new", "../x y", "--text", "data"], "expected a name of letters"),
    ],
)
def test_wrong_requests_end_in_one_line(tiny, fails, arguments, expected):
    before = sorted(p.name for p in Path(".").rglob("*"))
    assert expected in fails(*arguments)
    assert sorted(p.name for p in Path(".").rglob("*")) == before


def test_run_prints_stages_and_json(tiny, capsys):
    assert main(["run", "tiny.yaml", "--quiet"]) == 0
    assert "ran" in capsys.readouterr().out
    assert main(["run", "tiny.yaml", "--json", "--quiet"]) == 0
    assert json.loads(capsys.readouterr().out) == {"run_dir": "runs/tiny", "stages": {"count": "skipped", "two": "skipped"}}
    assert main(["verify", "runs/tiny", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["ok"] is True
    Path("data/a.txt").write_text("墨研")
    assert main(["verify", "runs/tiny"]) == 1
    assert "data/a.txt: changed" in capsys.readouterr().out


def test_a_run_in_other_settings_says_both_ways_out(tiny, fails):
    main(["run", "tiny.yaml", "--quiet", "--json"])
    assert main(["run", "tiny.yaml", "--quiet", "--json"]) == 0


def test_other_settings(tiny, fails, capsys):
    main(["run", "tiny.yaml", "--quiet"])
    capsys.readouterr()
    line = fails("run", "tiny.yaml", "two.times=9")
    assert "times: 2 → 9" in line
    assert "--redo two" in line
    assert "--run-dir" in line


def test_debug_shows_the_traceback(tiny):
    from yanmo.core.errors import RequestError

    with pytest.raises(RequestError):
        main(["--debug", "run", "missing.yaml"])


def test_list_and_show(capsys):
    assert main(["list", "--json"]) == 0
    listed = json.loads(capsys.readouterr().out)
    assert {"transformer", "ngram", "lstm"} <= set(listed["model"])
    assert all(summary for parts in listed.values() for summary in parts.values())
    assert main(["show", "step", "length"]) == 0
    assert "min_chars" in capsys.readouterr().out
    assert main(["show", "step", "length", "--schema"]) == 0
    assert "min_chars" in json.loads(capsys.readouterr().out)["properties"]


def test_version(capsys):
    assert main(["--version"]) == 0
    assert capsys.readouterr().out.startswith("yanmo 0.")
