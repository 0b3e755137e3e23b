"""The application that verbs are put on, the options that several of them share, and what all of them print with."""

from __future__ import annotations

import json
from typing import Annotated, Any

import typer

from yanmo.core.package import VERSION

app = typer.Typer(
    name="yanmo",
    help="From raw text to a working language model, with a record from every answer back to the text.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)

Json = Annotated[bool, typer.Option("--json", help="Print the result as JSON.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="No progress, only errors.")]
ModelPath = Annotated[str, typer.Argument(metavar="MODEL", help="A run, RUN/STAGE, a model directory, or a GGUF file.")]
Seed = Annotated[int, typer.Option(help="The sampling seed.")]
Beside = Annotated[list[str] | None, typer.Option("--with", metavar="MODEL", help="Another that answers too; averaged.")]
Samples = Annotated[int | None, typer.Option(help="Average so many draws from the posterior that optim ivon leaves.")]
MaxTokens = Annotated[int, typer.Option(help="The most tokens to generate.")]
Temperature = Annotated[float, typer.Option(help="0 is greedy.")]
TopP = Annotated[float, typer.Option(help="Sample from the most probable tokens that hold this mass.")]


def show(value: Any) -> None:
    print(json.dumps(value, ensure_ascii=False))


def version(asked: bool) -> None:
    if asked:
        print(f"yanmo {VERSION}")
        raise typer.Exit()


@app.callback()
def options(
    debug: Annotated[bool, typer.Option("--debug", help="Show tracebacks.")] = False,
    version: Annotated[bool, typer.Option("--version", callback=version, is_eager=True, help="Print the version.")] = False,
) -> None:
    pass
