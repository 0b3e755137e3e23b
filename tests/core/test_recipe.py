"""Recipes: mistakes name the file, the line, the dotted key and the nearest known name."""

from __future__ import annotations

import pytest
import yaml

from yanmo.core.errors import RecipeError, RequestError
from yanmo.core.recipe import load, parse, read

RECIPE = """\
name: tiny
seed: 3
stages:
  - tests.core.parts:Count:
      path: data
      rule: {type: "tests.core.parts:Rule", factor: 2}
      limits:
        high: 5
  - {name: two, "tests.core.parts:Double": {times: 4}}
"""


@pytest.fixture
def recipe(folder):
    (folder / "data").mkdir()
    (folder / "data" / "a.txt").write_text("研墨\n", encoding="utf-8")

    def write(content: str = RECIPE):
        path = folder / "tiny.yaml"
        path.write_text(content, encoding="utf-8")
        return "tiny.yaml"

    return write


def fails(path, *overrides, error=RecipeError) -> str:
    with pytest.raises(error) as caught:
        load(path, list(overrides))
    message = str(caught.value)
    assert "\n" not in message
    assert caught.value.exit_status == 2
    return message


def test_a_recipe_is_its_stages_with_defaults(recipe):
    loaded = load(recipe())
    assert [entry.name for entry in loaded.stages] == ["count", "two"]
    assert loaded.stages[0].stage.rule.factor == 2
    assert loaded.stages[0].stage.limits.high == 5
    assert loaded.stages[1].stage.times == 4
    assert loaded.seed == 3


def test_the_dump_is_a_recipe_with_every_default_and_loads_again(recipe, folder):
    loaded = load(recipe())
    (folder / "again.yaml").write_text(loaded.dump(), encoding="utf-8")
    assert load("again.yaml").dump() == loaded.dump()
    assert "workers: 1" in loaded.dump()


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("times: 4", "tims: 4", "tiny.yaml:9: stages.1.tests.core.parts:Double.tims: unknown key 'tims' - did you mean 'times'?"),
        ("factor: 2", "factor: two", "tiny.yaml:6: stages.0.tests.core.parts:Count.rule.factor: expected a whole number, got 'two'"),
        ("high: 5", "high: 0", "tiny.yaml:8: stages.0.tests.core.parts:Count.limits.high: expected a number above 0, got 0"),
        ("high: 5", "hihg: 5", "tiny.yaml:8: stages.0.tests.core.parts:Count.limits.hihg: unknown key 'hihg' - did you mean 'high'?"),
        ('"tests.core.parts:Rule"', "lenght", "unknown step 'lenght' - did you mean 'length'?"),
        ('"tests.core.parts:Rule"', '"no.such:Thing"', "expected an importable 'pkg.mod:Class', got no.such:Thing"),
        ('"tests.core.parts:Rule"', '"yanmo.core.run:Run"', "expected a subclass of yanmo.core.config.Part"),
        ("      path: data\n", "", "tiny.yaml:4: stages.0.tests.core.parts:Count.path: expected a value, got nothing - add the key 'path'"),
        ("seed: 3", "seed: -1", "tiny.yaml:2: seed: expected a whole number, got -1"),
        ("seed: 3", "sede: 3", "tiny.yaml:2: sede: unknown key 'sede' - did you mean 'seed'?"),
        ("seed: 3", "name: twice", "tiny.yaml:2: name: the key 'name' is written twice"),
        ("name: two", "name: count", "expected a name of its own for each stage, got count"),
        ("name: tiny", "name: ../tiny", "expected a name of letters"),
        ("seed: 3", "seed: [3", "tiny.yaml:3:"),
        ("  - tests.core.parts:Count", "  - corpsu", "unknown stage 'corpsu' - did you mean 'corpus'?"),
    ],
)
def test_mistakes_name_the_line_the_key_and_the_nearest_name(recipe, old, new, expected):
    assert old in RECIPE
    assert expected in fails(recipe(RECIPE.replace(old, new)))


@pytest.mark.parametrize("content", ["", "[]", "42", "name: x", "name: x\nstages: []", "name: x\nstages: {a: 1}", "\x00", "a: *b"])
def test_what_is_no_recipe_at_all(recipe, content):
    fails(recipe(content))


def test_a_missing_file_names_the_nearest(recipe):
    recipe()
    assert "no such file - did you mean 'tiny.yaml'?" in fails("tinny.yaml", error=RequestError)


def test_a_file_that_is_not_text(folder):
    (folder / "x.yaml").write_bytes(b"name: \xff\xfe")
    fails("x.yaml")


def test_overrides_reach_nested_keys_and_make_missing_ones(recipe):
    loaded = load(recipe(), ["two.times=7", "count.limits.low=1", "count.rule.factor=3", "seed=9", "budget.minutes=2.5"])
    assert loaded.stages[1].stage.times == 7
    assert loaded.stages[0].stage.limits.low == 1
    assert loaded.stages[0].stage.rule.factor == 3
    assert (loaded.seed, loaded.budget.minutes) == (9, 2.5)


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        ("twwo.times=7", "no stage 'twwo' in the recipe - did you mean 'two'?"),
        ("two.tims=7", "unknown key 'tims'"),
        ("two.times=lots", "expected a whole number, got 'lots'"),
        ("two=7", "expected an override such as"),
        ("two.times", "expected an override such as"),
        ("budget.minutes=0", "expected a number above 0"),
        ("count.rules.2=1", "got 2"),
    ],
)
def test_wrong_overrides(recipe, override, expected):
    with_list = RECIPE.replace("      path: data\n", '      path: data\n      rules: ["tests.core.parts:Rule"]\n')
    assert expected in fails(recipe(with_list), override, error=RequestError)


def test_messages_render_in_chinese(recipe, monkeypatch):
    monkeypatch.setenv("YANMO_LANG", "zh_CN.UTF-8")
    assert "您是不是想写 “times”？" in fails(recipe(RECIPE.replace("times: 4", "tims: 4")))


def test_every_line_of_a_recipe_is_known(recipe):
    _, place, _ = read(recipe())
    lines = RECIPE.splitlines()
    for key, line in place.lines.items():
        last = key.rpartition(".")[2]
        if not last.isdigit():
            assert last in lines[line - 1], key


def test_yaml_types_are_not_guessed_into_numbers(recipe):
    assert "expected a string" in fails(recipe(RECIPE.replace("path: data", "path: 12")))


def test_parse_takes_plain_data():
    data = yaml.safe_load(RECIPE)
    from yanmo.core.config import Place

    assert parse(data, Place()).name == "tiny"
