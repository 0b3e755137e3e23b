"""Settings: frozen pydantic models that refuse unknown keys, and the parts made of them.

A `Part` is a frozen settings class whose fields are a recipe's keys. A field that holds another part is annotated
with `PartOf(kind)`: `model: Annotated[ModelPart, PartOf("model")]`, or a list of such. `build` turns plain data
(what YAML gives) into an instance, nested parts first, and reports every mistake with its dotted key, the recipe's
file and line where known, and the nearest known name.
"""

from __future__ import annotations

import types
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Union, get_args, get_origin

from pydantic import BaseModel, ConfigDict, GetCoreSchemaHandler, ValidationError
from pydantic_core import core_schema

from yanmo.core.errors import RecipeError, nearest
from yanmo.core.messages import Text, text


class Settings(BaseModel):
    """Frozen, unknown keys refused, no silent conversion of strings to numbers. `execution` names the fields that change
    how the work is done but not its result (workers, device, logging); they stay out of the fingerprint."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=False, arbitrary_types_allowed=True)

    execution: ClassVar[frozenset[str]] = frozenset()


class Part(Settings):
    """One recipe entry: `{type: name, **fields}`.

    `type` is the registered name, or `pkg.mod:Class` for a third party's. `version` grows when the same settings
    would give other bytes, so that an old run is not taken for a new one.
    """

    type: str = ""
    version: ClassVar[int] = 1


@dataclass(frozen=True)
class PartOf:
    """Marks a field as holding a part (or parts) of one registry kind."""

    kind: str

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> core_schema.CoreSchema:
        return core_schema.any_schema(
            serialization=core_schema.plain_serializer_function_ser_schema(dump_part, when_used="always")
        )

    def __get_pydantic_json_schema__(self, schema: Any, handler: Any) -> dict[str, Any]:
        from yanmo.core.registry import names

        one = {"type": "object", "properties": {"type": {"enum": names(self.kind)}}, "required": ["type"]}
        return {"anyOf": [one, {"type": "array", "items": one}, {"type": "string"}, {"type": "null"}]}


def dump_part(value: Any) -> Any:
    """A part as plain data, `type` first; lists item by item; anything else as it is."""
    if isinstance(value, Settings):
        return value.model_dump(mode="json")
    if isinstance(value, list | tuple):
        return [dump_part(item) for item in value]
    return value


@dataclass(frozen=True)
class Place:
    """Where a setting was written: the dotted key, and the recipe's file and line where they are known."""

    key: str = ""
    file: str | None = None
    lines: dict[str, int] | None = None

    def at(self, name: str | int) -> Place:
        return Place(f"{self.key}.{name}" if self.key else str(name), self.file, self.lines)

    def __str__(self) -> str:
        if self.file is None:
            return self.key or "settings"
        key, line = self.key, None
        while line is None and key:  # the nearest enclosing key that has a line
            line = (self.lines or {}).get(key)
            key = key.rpartition(".")[0]
        place = f"{self.file}:{line}" if line else self.file
        return f"{place}: {self.key}" if self.key else place


CHOICES = frozenset(("float", "int", "str", "bool"))  # how pydantic names the choices of a union in a mistake's place


def build(cls: type[Settings], data: Any, place: Place | None = None) -> Any:
    """`data` (a mapping) as an instance of `cls`; raises RecipeError naming the dotted key of the first mistake."""
    place = place or Place()
    if isinstance(data, cls):
        return data
    if data is None:
        data = {}
    if not isinstance(data, dict):
        raise RecipeError(str(place), text("a mapping of settings"), describe(data))
    fields = cls.model_fields
    for key in data:
        if key not in fields:
            raise RecipeError(str(place.at(key)), None, text("unknown key '{key}'", key=key),
                              nearest(key, [name for name in fields if name != "type"]))  # fmt: skip
    values = dict(data)
    for name, info in fields.items():
        if name not in values:
            if info.is_required():
                raise RecipeError(str(place.at(name)), text("a value"), text("nothing"),
                                  text("add the key '{key}'", key=name))  # fmt: skip
            continue
        kind = next((item.kind for item in info.metadata if isinstance(item, PartOf)), None)
        if kind is not None:
            spot = place if name == getattr(cls, "wraps", None) else place.at(name)  # its keys stand in the stage itself
            if isinstance(values[name], dict) and "type" not in values[name] and isinstance(info.default, Part):
                values[name] = {"type": info.default.type, **values[name]}  # `engine: {workers: 2}`
            values[name] = _parts(kind, values[name], spot, info.annotation)
        else:
            nested = _settings_class(info.annotation)
            if nested is not None and isinstance(values[name], dict):
                values[name] = build(nested, values[name], place.at(name))
    try:
        return cls.model_validate(values)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        spot = place
        for step in first["loc"]:
            if isinstance(step, int) or (step.isidentifier() and step not in CHOICES):
                spot = spot.at(step)
        raise RecipeError(str(spot), _expected(first), describe(first["input"])) from None


def _parts(kind: str, value: Any, place: Place, annotation: Any) -> Any:
    from yanmo.core.registry import create

    if isinstance(value, list | tuple):
        if "list" not in str(annotation) and "tuple" not in str(annotation):
            raise RecipeError(str(place), text("one {kind}", kind=kind), text("a list"))
        return [create(kind, item, place.at(index)) for index, item in enumerate(value)]
    if value is None or (isinstance(value, str) and _admits(annotation, str)):
        return value
    return create(kind, value, place)


def _admits(annotation: Any, cls: type) -> bool:
    if get_origin(annotation) in (Union, types.UnionType):
        return any(_admits(item, cls) for item in get_args(annotation))
    return annotation is cls


def _settings_class(annotation: Any) -> type[Settings] | None:
    origin = get_origin(annotation)
    if origin is Annotated:
        return _settings_class(get_args(annotation)[0])
    if origin in (Union, types.UnionType):
        found = [cls for cls in map(_settings_class, get_args(annotation)) if cls]
        return found[0] if found else None
    return annotation if isinstance(annotation, type) and issubclass(annotation, Settings) else None


def _expected(error: Any) -> str | Text:
    context = error.get("ctx") or {}
    kind = error["type"]
    if kind == "value_error" or kind == "assertion_error":
        return str(context.get("error") or error["msg"])
    names = {
        "int_parsing": text("a whole number"), "int_type": text("a whole number"), "int_from_float": text("a whole number"),
        "float_parsing": text("a number"), "float_type": text("a number"), "finite_number": text("a finite number"),
        "bool_parsing": text("true or false"), "bool_type": text("true or false"), "string_type": text("a string"),
        "list_type": text("a list"), "dict_type": text("a mapping of settings"), "missing": text("a value"),
    }  # fmt: skip
    if kind in names:
        return names[kind]
    if kind == "greater_than":
        return text("a number above {limit}", limit=context["gt"])
    if kind == "greater_than_equal":
        return text("a number of at least {limit}", limit=context["ge"])
    if kind == "less_than":
        return text("a number below {limit}", limit=context["lt"])
    if kind == "less_than_equal":
        return text("a number of at most {limit}", limit=context["le"])
    if kind == "literal_error":
        return text("one of {choices}", choices=str(context["expected"]).replace(" or ", ", "))
    return error["msg"]


def describe(value: Any) -> str:
    """A value as a message shows it: short, on one line."""
    if value is None:
        return "nothing"
    shown = repr(value)
    return shown if len(shown) <= 80 else shown[:77] + "..."
