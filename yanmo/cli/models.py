"""Verbs on a model: generate, chat, predict, score, export."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from yanmo.cli.app import Beside, Json, MaxTokens, ModelPath, Quiet, Samples, Seed, Temperature, TopP, app, show
from yanmo.core.errors import RequestError
from yanmo.core.messages import text


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
