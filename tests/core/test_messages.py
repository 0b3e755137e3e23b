"""Every message has a Chinese rendering with the same values in it."""

from __future__ import annotations

import ast
from pathlib import Path
from string import Formatter

import pytest

import yanmo
from yanmo.core.errors import DataError, RequestError, WorkError, YanmoError
from yanmo.core.messages import catalogue, locale, text

ROOT = Path(yanmo.__file__).parent
SPEAKERS = ("text", "say", "message")  # `say` renders at once; `message` is what `text` is called where texts are at hand


def templates() -> dict[str, str]:
    """template → the first place it is written at: every message in the package."""
    found: dict[str, str] = {}
    for path in sorted(ROOT.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in SPEAKERS and node.args:
                first = node.args[0]
                if isinstance(first, ast.Constant) and isinstance(first.value, str):
                    found.setdefault(first.value, f"{path.relative_to(ROOT)}:{node.lineno}")
    return found


def names(template: str) -> set[str]:
    return {name for _, name, _, _ in Formatter().parse(template) if name is not None}


def test_every_template_has_a_chinese_rendering():
    missing = {t: where for t, where in templates().items() if t not in catalogue("zh")}
    assert not missing


def test_renderings_hold_the_same_values():
    wrong = {t: z for t, z in catalogue("zh").items() if names(t) != names(z)}
    assert not wrong


def test_the_catalogue_holds_nothing_that_nobody_says():
    dynamic = {"ran", "skipped"}
    assert not set(catalogue("zh")) - set(templates()) - dynamic


@pytest.mark.parametrize(("value", "expected"), [("zh_CN.UTF-8", "zh"), ("zh", "zh"), ("en_GB.UTF-8", "en"), ("C", "en"), ("de_DE", "en")])
def test_the_locale_chooses(monkeypatch, value, expected):
    monkeypatch.delenv("YANMO_LANG", raising=False)
    monkeypatch.delenv("LC_ALL", raising=False)
    monkeypatch.delenv("LC_MESSAGES", raising=False)
    monkeypatch.setenv("LANG", value)
    assert locale() == expected


def test_an_error_is_one_line_of_where_expected_given_remedy():
    error = DataError("data/train.jsonl:17: field 'label'", text("one of {choices}", choices="'pos', 'neg'"), "'postive'",
                      text("did you mean '{name}'?", name="pos"))  # fmt: skip
    assert error.render("en") == "data/train.jsonl:17: field 'label': expected one of 'pos', 'neg', got 'postive' - did you mean 'pos'?"
    assert error.render("zh") == "data/train.jsonl:17: field 'label'：应为 'pos', 'neg' 之一，实为 'postive' - 您是不是想写 “pos”？"
    assert "\n" not in DataError("a\nb", "c\nd").render()


def test_errors_cross_process_borders():
    import pickle

    error = RequestError("x", text("a value"), "y")
    again = pickle.loads(pickle.dumps(error))
    assert str(again) == str(error)
    assert type(again) is RequestError


def test_exit_statuses():
    assert YanmoError("x").exit_status == 1
    assert RequestError("x").exit_status == 2
    assert WorkError("x").exit_status == 1
