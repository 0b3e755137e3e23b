"""Verbs on what models are worth, and on what they are for: evaluate, compare, scaling, serve."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import typer

from yanmo.cli.app import Beside, Json, ModelPath, Samples, app, show
from yanmo.core.console import Console
from yanmo.core.errors import RequestError
from yanmo.core.messages import text

Form = Literal["text", "markdown"]


@app.command()
def evaluate(
    model: Annotated[str, typer.Argument(metavar="MODEL", help="A run, RUN/STAGE, a model folder; with --harness also a URL.")],
    task: Annotated[str | None, typer.Option(help="A task: classify, language_modeling.")] = None,
    data: Annotated[str | None, typer.Option(help="The test data: a file, a folder or a glob.")] = None,
    harness: Annotated[str | None, typer.Option(metavar="TASK[,TASK…]", help="Or: tasks of lm-evaluation-harness,")] = None,
    include_path: Annotated[str | None, typer.Option(metavar="FOLDER", help="from this folder of YAML files.")] = None,
    name: Annotated[str | None, typer.Option(help="Which of a server's models.")] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="Items of each of the harness's tasks.")] = None,
    shots: Annotated[int | None, typer.Option(min=0, help="Examples shown before each of its items.")] = None,
    contamination: Annotated[bool, typer.Option("--contamination", help="Also on clean and dirty items.")] = False,
    beside: Beside = None,
    samples: Samples = None,
    as_json: Json = False,
) -> None:
    """Score a model on a task, with 95% intervals and the floors beside."""
    own = {"--task": task, "--data": data, "--with": beside, "--samples": samples,
           "--contamination": contamination or None}  # fmt: skip
    theirs = {"--harness": harness, "--include-path": include_path, "--name": name, "--limit": limit, "--shots": shots}
    if any(value is not None for value in theirs.values()):
        _whole(theirs, own, 2)
        from yanmo.evaluate.harness_results import evaluate_by_harness

        asked = [part.strip() for part in str(harness).split(",")]
        results = evaluate_by_harness(model, asked, str(include_path), name, limit, shots)
    else:
        _whole(own, theirs, 2)
        from yanmo.core.registry import create
        from yanmo.evaluate.runner import evaluate_model

        results = evaluate_model(model, create("task", {"type": task, "path": data}), beside or [], samples, contamination)
    if as_json:
        show({"results": results})
        return
    several = len({row["task"] for row in results}) > 1
    for row in results:
        interval = f"[{row['low']:.4f}, {row['high']:.4f}]" if row.get("low") is not None else ""
        value = "-" if row["value"] is None else f"{row['value']:.4f}"
        metric = f"{row['task']}: {row['metric']}" if several else row["metric"]
        print(f"{row['model']:<24} {metric:<16} {row.get('group', ''):<16} {value} {interval} n={row['n']}")


def _whole(options: dict[str, Any], others: dict[str, Any], needed: int) -> None:
    """RequestError unless the first `needed` options are given, and none of the others: both ways of evaluating are not one."""
    missing = [name for name, value in list(options.items())[:needed] if value is None]
    strange = [name for name, value in others.items() if value is not None]
    if missing or strange:
        expected = text("--task with --data, or --harness with --include-path")
        given = text("no {name}", name=missing[0]) if missing else text("{name} too", name=strange[0])
        raise RequestError("evaluate", expected, given)


@app.command()
def compare(
    first: Annotated[str, typer.Argument(metavar="RUN", help="A run.")],
    second: Annotated[str | None, typer.Argument(metavar="[RUN]", help="Another; without it, the models of the one.")] = None,
    form: Annotated[Form, typer.Option("--format", help="Of one run, Markdown is a page of its own.")] = "text",
    as_json: Json = False,
) -> None:
    """Two runs' results side by side, or the models of one run."""
    from yanmo.evaluate.card import table as markdown
    from yanmo.evaluate.compare import cells, evaluated, side_by_side, table
    from yanmo.evaluate.compare import compare as compare_runs
    from yanmo.evaluate.recipe_page import page, record_of

    if as_json and form != "text":
        raise RequestError("--format", text("'--json' or a '--format', not both"), form)
    if second is None:
        if as_json:
            show({"results": evaluated(first).results})
        else:
            print(page(record_of(first)).rstrip() if form == "markdown" else side_by_side(first))
        return
    rows = compare_runs(first, second, Console())
    if as_json:
        show({"results": rows})
    elif form == "markdown":
        head, *lines = cells(rows)
        print(markdown(head, lines, right=(3, 4, 5)))
    else:
        print(table(rows))


@app.command()
def scaling(
    runs: Annotated[list[str], typer.Argument(metavar="RUN…", help="Finished runs or RUN/STAGE, of several sizes and lengths.")],
    parameters: Annotated[float | None, typer.Option(help="Predict a model of so many parameters;")] = None,
    tokens: Annotated[float | None, typer.Option(help="trained on so many tokens.")] = None,
    flops: Annotated[float | None, typer.Option(help="Or: the best of both for so many operations (6 N D).")] = None,
    as_json: Json = False,
) -> None:
    """Fit a scaling law to short runs and predict the loss of a larger one, with its error."""
    from yanmo.evaluate.compare import aligned
    from yanmo.evaluate.scaling import points_of, report, said

    found = report(points_of(runs), parameters, tokens, flops)
    if as_json:
        show(found)
    else:
        rows, notes = said(found)
        print(aligned(rows))
        for note in notes:
            print(note)


@app.command()
def serve(
    model: ModelPath,
    host: Annotated[str, typer.Option(help="The address to listen on; loopback unless you say otherwise.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="The port.")] = 8000,
    slots: Annotated[int, typer.Option(help="Requests decoded at once, each model.")] = 8,
) -> None:
    """Serve a model, or every model of a run, over an OpenAI-compatible HTTP interface."""
    from yanmo.serve.app import serve as serve_model

    serve_model(model, host=host, port=port, slots=slots)
