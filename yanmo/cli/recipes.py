"""Verbs on recipes and runs: run, demo, new, check, plan, list, show, tokenizer-report, verify."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from yanmo.cli.app import Json, Quiet, app, show
from yanmo.core.messages import text


@app.command()
def run(
    recipe: Annotated[str, typer.Argument(help="A recipe file, or the name of a shipped one (quickstart).")],
    overrides: Annotated[list[str] | None, typer.Argument(help="stage.key=value, such as pretrain.train.steps=50.")] = None,
    run_dir: Annotated[str | None, typer.Option(help="The run directory; default runs/NAME.")] = None,
    until: Annotated[str | None, typer.Option(metavar="STAGE", help="Stop after this stage.")] = None,
    redo: Annotated[list[str] | None, typer.Option(metavar="STAGE", help="Make it again, and what depends on it.")] = None,
    ranks: Annotated[int, typer.Option(metavar="N", help="So many processes of this machine train together.")] = 1,
    force: Annotated[bool, typer.Option("--force", help="Begin also a training that would be refused as doomed.")] = False,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Run a recipe's unfinished stages; a killed run goes on where it was."""
    from yanmo.core.crew import among_others

    if ranks != 1 and not among_others():
        from yanmo.cli import main
        from yanmo.core.console import Console
        from yanmo.train.parallel.launch import launch

        again = [recipe, *(overrides or []), *(["--run-dir", run_dir] if run_dir else []), *(["--until", until] if until else []),
                 *(word for stage in redo or [] for word in ("--redo", stage)), *["--json"] * as_json, *["--quiet"] * quiet,
                 *["--force"] * force]  # fmt: skip
        raise typer.Exit(launch(ranks, main, ["run", *again], Console().warn))
    report = _run(recipe, overrides, run_dir, until, redo, quiet, force)
    if not report:
        return  # the first process reports
    if as_json:
        show(report)
    else:
        for stage, what in report["stages"].items():
            print(f"{stage:<16} {text(what)}")
        print(text("run: {path}", path=report["run_dir"]))


def _run(recipe: str, overrides: list[str] | None = None, run_dir: str | None = None, until: str | None = None,
         redo: list[str] | None = None, quiet: bool = False, force: bool = False) -> dict[str, Any]:  # fmt: skip
    from yanmo.core.console import Console
    from yanmo.core.crew import ALONE, Crew, among_others
    from yanmo.core.execute import run_recipe

    def work(crew: Crew) -> dict[str, Any]:
        return run_recipe(recipe, overrides, run_dir, until=until, redo=redo, console=Console(quiet), crew=crew, force=force)

    if not among_others():
        return work(ALONE)
    from yanmo.train.parallel.launch import among

    return among(work)


@app.command()
def demo(
    minutes: Annotated[float | None, typer.Option(help="The budget of the whole recipe; default as in the recipe.")] = None,
    run_dir: Annotated[str | None, typer.Option(help="The run directory; default runs/quickstart.")] = None,
    quiet: Quiet = False,
) -> None:
    """The quickstart in this folder: English and Chinese text to models, a classifier and a report."""
    report = _run("quickstart", [f"budget.minutes={minutes}"] if minutes else [], run_dir, quiet=quiet)
    directory = report["run_dir"]
    print(text("The report: {path}", path=Path(directory) / "report.html"))
    print(text("Three things to try next:"))
    for command, why in (
        ("yanmo new mine --text FOLDER", text("a recipe for your own text (add --labels FILE for a classifier)")),
        (f'yanmo generate {directory}/mixture "It was" --max-tokens 60', text("go on with a text")),
        (f'yanmo predict {directory} "turn on the kitchen light" "把客厅的灯打开"', text("classify sentences")),
    ):
        print(f"  {command:<72} # {why}")


@app.command()
def new(
    name: Annotated[str, typer.Argument(help="The recipe's name; writes NAME.yaml here.")],
    text_path: Annotated[str | None, typer.Option("--text", metavar="PATH", help="Your text: file, folder or glob.")] = None,
    labels: Annotated[str | None, typer.Option(metavar="FILE", help="Labelled texts (JSONL or CSV) for a classifier.")] = None,
    minutes: Annotated[float, typer.Option(help="The budget to write into it.")] = 10,
) -> None:
    """Write a commented recipe for your own text, and say what to run."""
    from yanmo.stages.draft import draft

    path = draft(name, text_path, labels, minutes)
    print(text("wrote {path}", path=str(path)))
    print(text("next: yanmo check {path}   then: yanmo run {path}", path=str(path)))


@app.command()
def check(
    recipe: Annotated[str, typer.Argument(help="A recipe file.")],
    overrides: Annotated[list[str] | None, typer.Argument(help="stage.key=value …")] = None,
    lr_range: Annotated[str | None, typer.Option(metavar="STAGE", help="Try learning rates on this stage's own rows.")] = None,
    as_json: Json = False,
) -> None:
    """Is the recipe valid, is the data there and sound? Says what it would do, without doing it. With --lr-range STAGE: which
    learning rates that stage's training bears, by a few dozen steps that leave nothing behind."""
    from yanmo.stages.check import check as check_recipe
    from yanmo.stages.check import lines

    if lr_range is not None:
        from yanmo.stages.rates import lines as curve
        from yanmo.stages.rates import rates

        found = rates(recipe, overrides, lr_range)
        if as_json:
            show(found.plain())
        else:
            print("\n".join(curve(found)))
        return
    report = check_recipe(recipe, overrides)
    if as_json:
        show(report)
    else:
        for line in lines(report):
            print(line)
        print(text("sound: yanmo run {recipe}", recipe=recipe) if report["ok"] else text("not sound"))
    if not report["ok"]:
        raise typer.Exit(2)


@app.command()
def plan(
    size: Annotated[str, typer.Argument(help="1B, 3B, 7B, 8B, 13B, 34B or 70B: a decoder of so many parameters.")],
    gpus: Annotated[list[int] | None, typer.Option(help="How many; may be repeated. Default: 8 to 1024.")] = None,
    gpu: Annotated[str, typer.Option(help="a100, h100 or h200.")] = "h100",
    tokens: Annotated[float | None, typer.Option(help="To train on, such as 1.4e12; default: 20 a parameter.")] = None,
    context: Annotated[int | None, typer.Option(help="Tokens of a row; default: as such models have it.")] = None,
    batch_tokens: Annotated[int, typer.Option(help="Of one optimizer step.")] = 4_194_304,
    as_json: Json = False,
) -> None:
    """Memory, communication and time of training on machines that are not here."""
    from yanmo.train.plan.cost import plan as cost_of
    from yanmo.train.plan.cost import sensible, table

    rows = cost_of(size, gpu, gpus, tokens, batch_tokens, context)
    if as_json:
        show({"rows": rows})
    else:
        print(text("{parameters} parameters, {tokens} tokens, {gpu}", parameters=sensible(rows[0]["parameters"]),
                   tokens=sensible(rows[0]["tokens"]), gpu=gpu))  # fmt: skip
        print("\n".join(table(rows)))


@app.command(name="list")
def list_(
    kind: Annotated[str | None, typer.Argument(help="stage, source, step, tokenizer, model, objective, task …")] = None,
    as_json: Json = False,
) -> None:
    """The parts that a recipe can name, by kind."""
    from yanmo.core.registry import summaries

    found = summaries(kind)
    if as_json:
        show(found)
        return
    for group, parts in found.items():
        print(group)
        for name, summary in parts.items():
            print(f"  {name:<18} {summary}")


@app.command(name="show")
def show_(
    kind: Annotated[str, typer.Argument(help="A kind of part, such as model.")],
    name: Annotated[str, typer.Argument(help="A part's name, such as transformer.")],
    schema: Annotated[bool, typer.Option("--schema", help="The JSON Schema, for editors.")] = False,
) -> None:
    """A part's settings: names, types, defaults, and what they mean."""
    from yanmo.core.registry import describe_part, resolve_part

    cls = resolve_part(kind, name)
    if schema:
        print(json.dumps(cls.model_json_schema(), ensure_ascii=False, indent=2))
    else:
        print(describe_part(cls, name))


@app.command(name="tokenizer-report")
def tokenizer_report(
    tokenizer: Annotated[str, typer.Argument(help="A folder with a tokenizer, tokenizer.json, *.tiktoken, *.model or *.gguf.")],
    text_path: Annotated[str | None, typer.Argument(metavar="[TEXT]", help="A text or a folder; default: samples.")] = None,
    beside: Annotated[list[str] | None, typer.Option(metavar="PATH", help="Another tokenizer to compare with.")] = None,
    as_json: Json = False,
) -> None:
    """What a tokenizer does to a text: bytes per token, fertility, unknowns, wasted vocabulary."""
    from yanmo.models.gguf.reader import Gguf
    from yanmo.text.report import compare, table

    rows = compare([tokenizer, *(beside or [])], text_path, lambda path: Gguf(path).metadata)
    if as_json:
        show({"tokenizers": rows})
    else:
        print("\n".join(table(rows)))


@app.command()
def verify(
    run: Annotated[str, typer.Argument(metavar="RUN", help="A run directory.")],
    as_json: Json = False,
) -> None:
    """Hash every artifact of a run again, back to the source files, and say what changed."""
    from yanmo.core.verify import verify as verify_run

    report = verify_run(run)
    if as_json:
        show(report)
    else:
        for item in report["changed"]:
            print(f"{item['path']}: {item['what']}")
        print(text("{count} files and links checked, {changed} changed", count=report["checked"], changed=len(report["changed"])))
    if not report["ok"]:
        raise typer.Exit(1)
