"""The command line: one verb a function, nothing heavy imported before a verb runs.

Results go to standard output, progress and logs to standard error. Exit status: 0 done, 1 the work failed, 2 the
request was wrong. A mistake of the user's ends in one line; `--debug` before the verb shows the traceback.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from yanmo.core.errors import RequestError, YanmoError
from yanmo.core.messages import text
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
ModelPath = Annotated[str, typer.Argument(metavar="MODEL", help="A run, RUN/STAGE, or a model directory.")]
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


# ---------------------------------------------------------------------------------------------- recipes and runs


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
        from yanmo.core.console import Console
        from yanmo.train.launch import launch

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
    from yanmo.train.launch import among

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
        (f'yanmo generate {directory}/transformer "It was" --max-tokens 60', text("go on with a text")),
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
    from yanmo.train.cost import plan as cost_of
    from yanmo.train.cost import sensible, table

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


# ---------------------------------------------------------------------------------------------- models


@app.command()
def generate(
    model: ModelPath,
    prompt: Annotated[str, typer.Argument(help="The text to go on with.")],
    chat: Annotated[bool, typer.Option("--chat", help="Wrap the prompt in the model's own chat template.")] = False,
    max_tokens: MaxTokens = 128,
    temperature: Temperature = 0.8,
    top_p: TopP = 0.95,
    seed: Seed = 0,
    as_json: Json = False,
) -> None:
    """Go on with a text."""
    import time

    import yanmo

    opened = yanmo.load(model)
    started = time.monotonic()
    messages: Any = [{"role": "user", "content": prompt}] if chat else prompt
    pieces, tokens = [], 0
    for piece in opened.stream(messages, max_tokens=max_tokens, temperature=temperature, top_p=top_p, seed=seed):
        tokens = piece.tokens
        pieces.append(piece.text)
        if not as_json:
            print(piece.text, end="", flush=True)
    if as_json:
        show({"text": "".join(pieces), "tokens": tokens, "seconds": round(time.monotonic() - started, 3)})
    else:
        print()


@app.command()
def chat(
    model: ModelPath,
    max_tokens: MaxTokens = 256,
    temperature: Temperature = 0.8,
    top_p: TopP = 0.95,
    seed: Seed = 0,
) -> None:
    """Talk with a model; an empty line or Ctrl-D ends it."""
    import yanmo

    opened = yanmo.load(model)
    messages: list[dict[str, str]] = []
    while True:
        try:
            line = input("> " if sys.stdin.isatty() else "").strip()
        except EOFError:
            break
        if not line:
            break
        messages.append({"role": "user", "content": line})
        answer = ""
        for piece in opened.stream(messages, max_tokens=max_tokens, temperature=temperature, top_p=top_p, seed=seed):
            print(piece.text, end="", flush=True)
            answer += piece.text
        print()
        messages.append({"role": "assistant", "content": answer})


@app.command()
def predict(
    model: ModelPath,
    texts: Annotated[list[str] | None, typer.Argument(help="Texts to label.")] = None,
    file: Annotated[str | None, typer.Option(help="A file: one text a line, or JSONL with 'text'.")] = None,
    beside: Beside = None,
    samples: Samples = None,
    as_json: Json = False,
) -> None:
    """Label texts; one line for each."""
    import yanmo

    given = list(texts or [])
    if file is not None:
        given += _lines(file)
    if not given:
        raise RequestError("yanmo predict", text("a TEXT or --file FILE"), text("neither"))
    for prediction in yanmo.load([model, *(beside or [])], samples=samples).predict(given):
        if as_json:
            show({"text": prediction.text, "label": prediction.label, "score": prediction.score})
        else:
            print(f"{prediction.label}\t{prediction.score:.3f}\t{prediction.text}")


def _lines(file: str) -> list[str]:
    path = Path(file)
    if not path.is_file():
        raise RequestError(file, text("a file of texts"), text("no such file"))
    lines = path.read_text(encoding="utf-8").splitlines()
    if not file.endswith((".jsonl", ".json")):
        return [line for line in lines if line.strip()]
    found = []
    for number, line in enumerate(lines, 1):
        if line.strip():
            try:
                found.append(json.loads(line)["text"])
            except (ValueError, KeyError, TypeError):
                raise RequestError(f"{file}:{number}", text("a JSON object with 'text'"), line[:60]) from None
    return found


@app.command()
def score(
    model: ModelPath,
    file: Annotated[str, typer.Argument(help="A UTF-8 text file; it is one document.")],
    beside: Beside = None,
    samples: Samples = None,
    as_json: Json = False,
) -> None:
    """Perplexity and bits per byte of a file: every byte counted once, stride half the context. A masked model has a
    pseudo-likelihood instead, and says so."""
    import yanmo

    path = Path(file)
    if not path.is_file():
        raise RequestError(file, text("a text file"), text("no such file"))
    try:
        content = path.read_bytes().decode("utf-8")
    except UnicodeDecodeError as error:
        raise RequestError(file, text("UTF-8 text"), str(error)) from None
    if not content:
        raise RequestError(file, text("some text"), text("an empty file"))
    result = yanmo.load([model, *(beside or [])], samples=samples).score(content)
    if as_json:
        show(result)
    else:
        wide = max(16, *map(len, result))
        for key, value in result.items():
            print(f"{key:<{wide}} {value:.4f}" if isinstance(value, float) else f"{key:<{wide}} {value}")
        if result.get("measure") == "pseudo-likelihood":
            print(text("each token predicted from both sides: no probability of the text, to be held against masked models only"))
        elif "measure" in result:
            print(text("a probability of the text, asked for behind a single gap, far from what the model was trained for"))


@app.command()
def export(
    model: ModelPath,
    target: Annotated[str, typer.Argument(metavar="DIR", help="Where to; nothing may be there yet. For GGUF a .gguf file too.")],
    to: Annotated[str, typer.Option(help="hf, gguf or onnx.")],
    dtype: Annotated[str, typer.Option(help="f32; hf and gguf: f16, bf16; gguf: q8_0, q4_0.")] = "f32",
    max_shard_bytes: Annotated[int | None, typer.Option(help="hf: files of at most so many bytes.")] = None,
    name: Annotated[str | None, typer.Option(help="gguf: the name that the file gives the model.")] = None,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Write a model for other programs, and prove at once that it says what the source says."""
    from yanmo.core.console import Console
    from yanmo.stages.export import export as export_model

    report = export_model(model, to, target, dtype, max_shard_bytes, name, log=Console(quiet).log)
    if as_json:
        show(report)
    else:
        print(text("wrote {path}", path=report["path"]))
        print(text("same token ids; logits differ by {difference} of their size at {count} positions (limit {tolerance})",
                   difference=f"{report['difference']:.2g}", count=report["positions"],
                   tolerance=report["tolerance"]))  # fmt: skip


# ---------------------------------------------------------------------------------------------- evaluation, serving


@app.command()
def evaluate(
    model: ModelPath,
    task: Annotated[str, typer.Option(help="A task: classify, language_modeling.")],
    data: Annotated[str, typer.Option(help="The test data: a file, a folder or a glob.")],
    beside: Beside = None,
    samples: Samples = None,
    as_json: Json = False,
) -> None:
    """Score a model on a task, with 95% intervals and the floors beside."""
    from yanmo.core.registry import create
    from yanmo.evaluate.runner import evaluate_model

    results = evaluate_model(model, create("task", {"type": task, "path": data}), beside or [], samples)
    if as_json:
        show({"results": results})
        return
    for row in results:
        interval = f"[{row['low']:.4f}, {row['high']:.4f}]" if row.get("low") is not None else ""
        value = "-" if row["value"] is None else f"{row['value']:.4f}"
        print(f"{row['model']:<24} {row['metric']:<16} {row.get('group', ''):<16} {value} {interval} n={row['n']}")


@app.command()
def compare(
    first: Annotated[str, typer.Argument(metavar="RUN", help="A run.")],
    second: Annotated[str | None, typer.Argument(metavar="[RUN]", help="Another; without it, the models of the one.")] = None,
    as_json: Json = False,
) -> None:
    """Two runs' results side by side, or the models of one run."""
    from yanmo.evaluate.compare import compare as compare_runs
    from yanmo.evaluate.compare import evaluated, side_by_side, table

    if second is None:
        if as_json:
            show({"results": evaluated(first).results})
        else:
            print(side_by_side(first))
        return
    rows = compare_runs(first, second)
    if as_json:
        show({"results": rows})
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


def main(arguments: list[str] | None = None) -> int:
    """Runs the command line; returns the exit status."""
    arguments = sys.argv[1:] if arguments is None else arguments
    try:
        result = app(args=arguments, standalone_mode=False, prog_name="yanmo")
        return result if isinstance(result, int) else 0
    except YanmoError as error:
        if "--debug" in arguments:
            raise
        print(f"yanmo: {error}", file=sys.stderr)
        return error.exit_status
    except typer.Exit as stop:
        return stop.exit_code
    except (KeyboardInterrupt, typer.Abort):
        print("yanmo: " + str(text("interrupted; run the same command again to go on")), file=sys.stderr)
        return 130
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except OSError as error:
        if "--debug" in arguments or error.filename is None:
            raise
        print(f"yanmo: {error.filename}: {error.strerror}", file=sys.stderr)
        return 1
    except Exception as error:
        if not hasattr(error, "format_message") or "--debug" in arguments:
            raise
        message = " ".join(error.format_message().split())
        if message:
            print(f"yanmo: {message} - " + str(text("see 'yanmo --help'")), file=sys.stderr)
        return getattr(error, "exit_code", 2)


if __name__ == "__main__":
    sys.exit(main())
