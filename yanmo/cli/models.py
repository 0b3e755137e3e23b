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
    texts: Annotated[list[str] | None, typer.Argument(help="Texts to label, tag, translate, sum up, or find answers in.")] = None,
    file: Annotated[str | None, typer.Option(help="A file: one text a line, or JSONL with 'text' (and 'question').")] = None,
    question: Annotated[str | None, typer.Option(help="What the texts are asked, of a model that finds answers.")] = None,
    beside: Beside = None,
    samples: Samples = None,
    as_json: Json = False,
) -> None:
    """Label texts, tag what is named in them, translate or sum them up, or find answers; one line for each."""
    import yanmo

    given = [(content, question) for content in texts or []]
    if file is not None:
        given += _asked(file, question)
    if not given:
        raise RequestError("yanmo predict", text("a TEXT or --file FILE"), text("neither"))
    opened = yanmo.load([model, *(beside or [])], samples=samples)
    if any(asked is not None for _, asked in given) or opened.predicts == "span":
        if any(asked is None for _, asked in given):
            raise RequestError("yanmo predict", text("a question for each text"), text("none"), text("add --question QUESTION"))
        pairs = [(str(asked), content) for content, asked in given]
        for (asked, _), found in zip(pairs, opened.answers(pairs)):
            if as_json:
                place = {"start": found.spans[0].start, "end": found.spans[0].end} if found.spans else {}
                show({"text": found.text, "question": asked, "answer": found.answer, **place, "score": found.score})
            else:
                print(f"{found.answer}\t{_shown(found.score)}\t{asked}")
        return
    contents = [content for content, _ in given]
    if opened.predicts == "tag":
        for found in opened.tag(contents):
            spans = [{"start": s.start, "end": s.end, "label": s.label, "text": found.text[s.start : s.end]} for s in found.spans]
            if as_json:
                show({"text": found.text, "spans": spans, "score": found.score})
            else:
                print(", ".join(f"{span['label']} {span['text']}" for span in spans), _shown(found.score), found.text, sep="\t")
        return
    if opened.predicts == "text":
        for content, said in zip(contents, opened.write(contents)):
            if as_json:
                show({"text": content, "answer": said.text, **said.beside})
            else:
                print(" ".join(said.text.splitlines()))
        return
    for found in opened.predict(contents):
        several = {"labels": list(found.labels or ())} if opened.predicts == "labels" else {}
        if as_json:
            show({"text": found.text, "label": found.label, **several, "score": found.score})
        else:
            print(f"{', '.join(found.labels or ()) if several else found.label}\t{_shown(found.score)}\t{found.text}")


def _shown(score: float | None) -> str:
    return "-" if score is None else f"{score:.3f}"


def _asked(file: str, question: str | None) -> list[tuple[str, str | None]]:
    """The texts of a file, each with the question that it is asked."""
    path = Path(file)
    if not path.is_file():
        raise RequestError(file, text("a file of texts"), text("no such file"))
    lines = path.read_text(encoding="utf-8").splitlines()
    if not file.endswith((".jsonl", ".json")):
        return [(line, question) for line in lines if line.strip()]
    found = []
    for number, line in enumerate(lines, 1):
        if line.strip():
            try:
                row = json.loads(line)
                found.append((row["text"], row.get("question", question)))
            except (ValueError, KeyError, TypeError, AttributeError):
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
