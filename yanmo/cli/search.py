"""The verb that looks for settings: search."""

from __future__ import annotations

from typing import Annotated

import typer

from yanmo.cli.app import Json, Quiet, app, show
from yanmo.core.messages import text


@app.command()
def search(
    recipe: Annotated[str, typer.Argument(help="A recipe file, or the name of a shipped one.")],
    overrides: Annotated[list[str] | None, typer.Argument(help="stage.key=value, the same in every trial.")] = None,
    sets: Annotated[list[str] | None, typer.Option("--set", metavar="KEY=VALUES", help="stage.key=low..high or =a,b,c.")] = None,
    trials: Annotated[int, typer.Option(help="How many, those of an earlier call counted.")] = 20,
    stage: Annotated[str | None, typer.Option(help="Whose validation decides; default: the last that --set names.")] = None,
    run_dir: Annotated[str | None, typer.Option(help="The folder; default runs/NAME-search.")] = None,
    seed: Annotated[int, typer.Option(help="Of the search.")] = 0,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Search for settings of a recipe's training stage by its validation data; the same command goes on with a killed search."""
    from yanmo.core.console import Console
    from yanmo.evaluate.compare import aligned
    from yanmo.stages.search import search as search_settings
    from yanmo.stages.search import table

    found = search_settings(recipe, sets or [], trials, overrides, stage, run_dir, seed, Console(quiet))
    if as_json:
        show(found)
        return
    print(aligned(table(found)))
    count = len(found["trials"])
    print(text("the best on the validation data, of {count} trials; how good it is says the test data:", count=count))
    print(found["command"])
