"""The verb that says what to start from: advise."""

from __future__ import annotations

from typing import Annotated

import typer

from yanmo.cli.app import Json, Quiet, app, show


@app.command()
def advise(
    data: Annotated[str, typer.Argument(metavar="DATA", help="The task's data: a file, a folder or a glob.")],
    task: Annotated[str, typer.Option(help="A task: classify, ner, or its settings: '{type: classify, fields: {text: body}}'.")],
    models: Annotated[list[str] | None, typer.Option(help="A type (lstm) or a place; again for more.")] = None,
    seconds: Annotated[float | None, typer.Option(min=1, help="Of tuning, each model; default 30.")] = None,
    steps: Annotated[int | None, typer.Option(min=1, help="Or: steps of tuning.")] = None,
    rows: Annotated[int | None, typer.Option(min=1, help="Training rows of the sample; default 2000.")] = None,
    examples: Annotated[int | None, typer.Option(min=1, help="Validation examples scored; default 300.")] = None,
    seed: Annotated[int, typer.Option(help="Of the sample and the trials.")] = 0,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Which of the models at hand to start from: each tried for a short time on this data, ranked with intervals."""
    from yanmo.core.console import Console
    from yanmo.evaluate.compare import aligned
    from yanmo.stages.advice import advise as advise_on
    from yanmo.stages.advice import left_out, table, task_of

    found = advise_on(task_of(task, data), models, seconds, steps, rows, examples, seed, Console(quiet))
    if as_json:
        show(found)
        return
    if found["best"] is not None:
        print(aligned(table(found)))
    for line in left_out(found):
        print(line)
    for row in found["candidates"]:
        for note in row["notes"]:
            print(f"? {row['model']}: {note}")
    for sentence in found["advice"]:
        print(sentence)
