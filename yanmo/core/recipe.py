"""A recipe: YAML text, overrides and defaults become a list of named stages, with the line of every key remembered."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from yanmo.core.config import Place, Settings, build, describe, dump_part
from yanmo.core.errors import RecipeError, RequestError, nearest
from yanmo.core.messages import text
from yanmo.core.package import HOME
from yanmo.core.registry import create, names, resolve
from yanmo.core.stage import Stage


class Budget(Settings):
    """Wall clock for the whole recipe, in minutes: fills what the stages leave open."""

    minutes: float


@dataclass(frozen=True)
class Entry:
    """A stage in its recipe: its name (its kind unless given) and its settings."""

    name: str
    stage: Stage


@dataclass(frozen=True)
class Recipe:
    name: str
    seed: int
    budget: Budget | None
    stages: tuple[Entry, ...]
    base: Path  # relative data paths are relative to the working directory, then to the recipe's folder

    def dump(self) -> str:
        """The recipe with every default written out."""
        stages = []
        for entry in self.stages:
            settings = dump_part(entry.stage)
            kind = settings.pop("type")
            if entry.stage.wraps:
                settings = {**settings.pop(entry.stage.wraps), **settings}
            stages.append({"name": entry.name, kind: settings} if entry.name != default_name(kind) else {kind: settings})
        data: dict[str, Any] = {"name": self.name, "seed": self.seed}
        if self.budget:
            data["budget"] = {"minutes": self.budget.minutes}
        return yaml.safe_dump({**data, "stages": stages}, sort_keys=False, allow_unicode=True, width=120)


def load(path: str | Path, overrides: list[str] | None = None) -> Recipe:
    return parse(*read(path, overrides))


def read(path: str | Path, overrides: list[str] | None = None) -> tuple[Any, Place, Path]:
    """The recipe's data with the overrides applied, the place for messages, and the file's folder.

    `path` is a file, or the name of a shipped recipe (`quickstart`)."""
    file = Path(path)
    if not file.is_file():
        shipped = HOME / "recipes" / f"{file.name.removesuffix('.yaml')}.yaml"
        if not (file.parent in (Path("."), Path("recipes")) and shipped.is_file()):
            if file.is_dir():
                raise RequestError(str(path), text("a recipe (a YAML file)"), text("a folder"))
            known = [p.name for p in sorted((file.parent if file.parent.is_dir() else Path(".")).glob("*.yaml"))]
            raise RequestError(str(path), text("a recipe (a YAML file)"), text("no such file"),
                               nearest(file.name, [*known, *shipped_names()]))  # fmt: skip
        file = shipped
    try:
        source = file.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise RecipeError(str(path), text("UTF-8 text"), str(error)) from None
    place = Place("", str(path), {})
    try:
        node = yaml.compose(source, Loader=yaml.SafeLoader)
        assert place.lines is not None
        _lines(node, "", place)
        data = yaml.safe_load(source)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        spot = f"{path}:{mark.line + 1}:{mark.column + 1}" if mark else str(path)
        raise RecipeError(spot, text("valid YAML"), error.problem or str(error)) from None
    except yaml.YAMLError as error:
        raise RecipeError(str(path), text("valid YAML"), " ".join(str(error).split())) from None
    for override in overrides or []:
        _override(data, override)
    return data, place, file.parent


def shipped_names() -> list[str]:
    return sorted(p.stem for p in (HOME / "recipes").glob("*.yaml"))


def parse(data: Any, place: Place, base: Path = Path(".")) -> Recipe:
    """A Recipe of plain data; every mistake is a RecipeError with its dotted key and line."""
    if not isinstance(data, dict):
        raise RecipeError(str(place), text("a mapping with 'name' and 'stages'"), describe(data))
    known = ("name", "seed", "budget", "stages")
    for key in data:
        if key not in known:
            raise RecipeError(str(place.at(key)), None, text("unknown key '{key}'", key=key), nearest(str(key), known))
    name = data.get("name")
    if not isinstance(name, str) or not re.fullmatch(r"[\w.-]+", name) or name.startswith("."):
        raise RecipeError(str(place.at("name")), text("a name of letters, digits, '.', '_' and '-'"), describe(name))
    seed = data.get("seed", 0)
    if isinstance(seed, bool) or not isinstance(seed, int) or seed < 0:
        raise RecipeError(str(place.at("seed")), text("a whole number"), describe(seed))
    budget = build(Budget, data["budget"], place.at("budget")) if data.get("budget") is not None else None
    if budget and not budget.minutes > 0:
        raise RecipeError(str(place.at("budget.minutes")), text("a number above {limit}", limit=0), str(budget.minutes))
    items = data.get("stages")
    if not isinstance(items, list) or not items:
        raise RecipeError(str(place.at("stages")), text("a list of stages"), describe(items),
                          text("known: {names}", names=", ".join(names("stage"))))  # fmt: skip
    entries: list[Entry] = []
    for index, item in enumerate(items):
        entry = _entry(item, place.at("stages").at(index))
        entry = Entry(entry.name, entry.stage.settled([e.name for e in entries if e.stage.gives == "model"]))
        if entry.name in {e.name for e in entries}:
            raise RecipeError(str(place.at("stages").at(index)), text("a name of its own for each stage"), entry.name,
                              text("add 'name:' to one of them"))  # fmt: skip
        entries.append(entry)
    return Recipe(name, seed, budget, tuple(entries), base)


def _entry(item: Any, place: Place) -> Entry:
    if isinstance(item, str):
        item = {item: {}}
    if not isinstance(item, dict):
        raise RecipeError(str(place), text("a mapping such as 'corpus: {{…}}'"), describe(item))
    kinds = [key for key in item if key != "name"]
    for kind in kinds:
        if kind not in names("stage") and ":" not in str(kind):  # `pkg.mod:Class` is a third party's stage
            raise RecipeError(str(place.at(kind)), None, text("unknown stage '{name}'", name=kind),
                              nearest(str(kind), [*names("stage"), "name"]))  # fmt: skip
    if len(kinds) != 1:
        raise RecipeError(str(place), text("one stage"), ", ".join(map(str, kinds)) or text("none"))
    kind = kinds[0]
    name = item.get("name", default_name(kind))
    if not isinstance(name, str) or not re.fullmatch(r"[\w-]+", name) or name == "tokens":
        raise RecipeError(str(place.at("name")), text("a name of letters, digits, '_' and '-'"), describe(name))
    spot, cls = place.at(kind), resolve("stage", kind, place.at(kind))
    if not issubclass(cls, Stage):
        raise RecipeError(str(spot), text("a stage"), str(kind))
    settings = {} if item[kind] is None else item[kind]
    if cls.wraps and isinstance(settings, str):  # `tokenizer: characters`
        settings = {"type": settings}
    if not isinstance(settings, dict):
        raise RecipeError(str(spot), text("a mapping of settings"), describe(settings))
    if cls.wraps:
        settings = _nested(cls, settings, spot)
    elif "type" in settings:
        raise RecipeError(str(spot.at("type")), None, text("unknown key '{key}'", key="type"), nearest("type", cls.model_fields))
    return Entry(name, create("stage", {**settings, "type": kind}, spot))


def _nested(cls: type[Stage], settings: dict[str, Any], place: Place) -> dict[str, Any]:
    """The settings of a stage that wraps one part: the keys that are not the stage's own become the part's, whose `type`
    is the default's where none is given. `Recipe.dump` writes them flat again."""
    fields = cls.model_fields
    own = {key: value for key, value in settings.items() if key in fields and key not in ("type", cls.wraps)}
    part = {key: value for key, value in settings.items() if key not in own}
    part.setdefault("type", fields[cls.wraps].get_default(call_default_factory=True).type)
    if isinstance(part["type"], str):
        known = {*resolve(cls.wraps, part["type"], place).model_fields, *fields} - {cls.wraps}
        for key in part:
            if key not in known:
                raise RecipeError(str(place.at(key)), None, text("unknown key '{key}'", key=key), nearest(str(key), known))
    return {**own, cls.wraps: part}


def default_name(kind: str) -> str:
    """A stage's name where none is given: its kind, or the class's of a third party's `pkg.mod:Class`."""
    return kind.rpartition(":")[2].lower()


def _override(data: Any, override: str) -> None:
    """`stage.key=value`, `seed=1`, `budget.minutes=3`; the value is YAML. Creates what is not there yet."""
    path, equals, value = override.partition("=")
    keys = path.strip().split(".")
    if not equals or not all(keys):
        raise RequestError(override, text("an override such as 'pretrain.train.steps=50'"))
    try:
        parsed = yaml.safe_load(value)
    except yaml.YAMLError:
        raise RequestError(override, text("valid YAML"), value) from None
    target: Any = data if isinstance(data, dict) else {}
    if keys[0] in ("name", "seed", "budget"):
        target = data
    else:
        stages = [item for item in target.get("stages") or [] if isinstance(item, dict)]
        byname = {}
        for item in stages:
            kind = next((key for key in item if key != "name"), None)
            byname[item.get("name", default_name(str(kind)))] = (item, kind)
        if keys[0] not in byname:
            raise RequestError(override, None, text("no stage '{name}' in the recipe", name=keys[0]),
                               nearest(keys[0], [str(n) for n in byname]))  # fmt: skip
        if len(keys) == 1:
            raise RequestError(override, text("an override such as 'pretrain.train.steps=50'"))
        item, kind = byname[keys[0]]
        if item[kind] is None:
            item[kind] = {}
        elif isinstance(item[kind], str):
            item[kind] = {"type": item[kind]}
        target, keys = item[kind], keys[1:]
    for key in keys[:-1]:
        if isinstance(target, list):
            target = _item(target, key, override)
        else:
            if isinstance(target.get(key), str) and key not in ("name", "path"):  # `model: lstm` → `{type: lstm}`
                target[key] = {"type": target[key]}
            if not isinstance(target.get(key), dict | list):
                target[key] = {}
            target = target[key]
    if isinstance(target, list):
        _item(target, keys[-1], override)
        target[int(keys[-1])] = parsed
    else:
        target[keys[-1]] = parsed


def _item(items: list, key: str, override: str) -> Any:
    if not key.isdigit() or int(key) >= len(items):
        raise RequestError(override, text("an index from 0 to {last}", last=len(items) - 1), key)
    return items[int(key)]


def _lines(node: Any, key: str, place: Place) -> None:
    """Remembers the line of each key; a key written twice is an error (YAML would silently take the last)."""
    if isinstance(node, yaml.MappingNode):
        seen: set[str] = set()
        for k, v in node.value:
            name = str(k.value)
            full = f"{key}.{name}" if key else name
            if name in seen:
                raise RecipeError(f"{place.file}:{k.start_mark.line + 1}: {full}", None,
                                  text("the key '{key}' is written twice", key=name))  # fmt: skip
            seen.add(name)
            place.lines[full] = k.start_mark.line + 1  # type: ignore[index]
            _lines(v, full, place)
    elif isinstance(node, yaml.SequenceNode):
        for index, v in enumerate(node.value):
            full = f"{key}.{index}"
            place.lines[full] = v.start_mark.line + 1  # type: ignore[index]
            _lines(v, full, place)
