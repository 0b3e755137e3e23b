"""What a tokenizer does to a text, in figures, beside others: `yanmo tokenizer-report`.

    bytes per token       UTF-8 bytes of the text for each token; more is denser
    fertility             tokens for each word of letters (en, other), for each Han character (zh)
    unknown               tokens that stand for nothing that the text said
    unused                tokens that this text never needed (of a small text, most)
    unreachable           tokens that their own text does not give back: never made, whatever the text
    doubles               tokens that say the same as another one after normalisation
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any

from yanmo.core.errors import DataError, RequestError
from yanmo.core.messages import text as message
from yanmo.text import gguf
from yanmo.text.language import language
from yanmo.text.tokenizer import Tokenizer

SAMPLES = ("moby_dick", "sanguo", "state_of_the_union", "tang_poems")
LONGEST = 8  # pieces that are named
SHOWN = 40  # characters of a piece that are shown
MOST = 20_000_000  # characters of a text that are read

Metadata = Callable[[Path], Mapping[str, Any]]

_HAN = re.compile("[\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff]")
_WORD = re.compile(r"[^\W\d_]+(?:['’][^\W\d_]+)*")


def density(tokenizer: Tokenizer, texts: Sequence[str]) -> dict[str, dict[str, Any]]:
    """What `report` says of each language, and no more."""
    by_language, _ = _counted(tokenizer, texts)
    return {kind: _figures(made) for kind, made in sorted(by_language.items())}


def _counted(tokenizer: Tokenizer, texts: Sequence[str]) -> tuple[dict[str, Counter[str]], Counter[int]]:
    """Of each language what there is to count, and how often each id comes."""
    by_language: dict[str, Counter[str]] = {}
    used: Counter[int] = Counter()
    for text, ids in zip(texts, tokenizer.encode_batch(texts)):
        kind = language(text)
        made = by_language.setdefault(kind, Counter())
        made.update(texts=1, bytes=len(text.encode("utf-8", "replace")), tokens=len(ids), han=len(_HAN.findall(text)),
                    words=len(_WORD.findall(_HAN.sub(" ", text))))  # fmt: skip
        made["unknown"] += ids.count(tokenizer.unk_id) if tokenizer.unk_id is not None else 0
        used.update(ids)
    return by_language, used


def report(tokenizer: Tokenizer, texts: Sequence[str]) -> dict[str, Any]:
    """The figures of one tokenizer on `texts`."""
    by_language, used = _counted(tokenizer, texts)
    whole = sum(by_language.values(), Counter())
    ordinary = [token for token in range(tokenizer.size) if token not in tokenizer.special.values() and token != tokenizer.pad_id]
    unreachable, doubles = _waste(tokenizer, ordinary)
    lengths = sorted(ordinary, key=lambda token: (-len(tokenizer.piece(token)), token))
    return {
        "size": tokenizer.size,
        "lossless": tokenizer.lossless,
        "special": tokenizer.names,
        "notes": [str(note) for note in tokenizer.notes],
        "all": _figures(whole),
        "languages": {kind: _figures(made) for kind, made in sorted(by_language.items())},
        "unused": sum(token not in used for token in ordinary),
        "unreachable": len(unreachable),
        "doubles": len(doubles),
        "longest": [tokenizer.token(token)[:SHOWN] for token in lengths[:LONGEST]],
        "longest_used": [tokenizer.token(token)[:SHOWN] for token in lengths if token in used][:LONGEST],
        "unreachable_examples": [tokenizer.token(token)[:SHOWN] for token in unreachable[:LONGEST]],
    }


def compare(places: Sequence[str], path: str | None, metadata: Metadata) -> list[dict[str, Any]]:
    """The figures of the tokenizers at `places`, on the text at `path` or on the samples. `metadata` reads a GGUF file's."""
    texts = _texts(path)
    return [{"tokenizer": place, **report(opened(place, metadata), texts)} for place in places]


def opened(place: str, metadata: Metadata) -> Tokenizer:
    """A run or a model directory's tokenizer, Hugging Face's layout or a file of ranks, of SentencePiece or GGUF."""
    path = Path(place)
    if not path.exists():
        raise RequestError(place, message("a tokenizer"), message("no such file"))
    if path.suffix == ".gguf":
        return gguf.read(metadata(path), place)
    for inside in ("tokenizer", "model"):
        if (path / inside / "tokenizer.json").is_file() and not (path / "tokenizer.json").is_file():
            return Tokenizer.load(path / inside)
    return Tokenizer.load(path)


def table(rows: Sequence[dict[str, Any]]) -> list[str]:
    """The figures side by side, a tokenizer a column."""
    names = [Path(row["tokenizer"]).name for row in rows]
    lines: list[tuple[Any, list[str]]] = [
        ("", names),
        (message("tokens in the vocabulary"), [f"{row['size']:,}" for row in rows]),
        (message("loses nothing"), [str(message("yes") if row["lossless"] else message("no")) for row in rows]),
    ]
    rates = (
        ("bytes_per_token", message("bytes per token"), 1),
        ("tokens_per_word", message("tokens per word"), 1),
        ("tokens_per_han", message("tokens per Han character"), 1),
        ("unknown", message("unknown, of a thousand tokens"), 1000),
    )
    for kind in ["all", *sorted({kind for row in rows for kind in row["languages"]})]:
        left_out = {"all": ("tokens_per_word", "tokens_per_han"), "zh": ("tokens_per_word",)}.get(kind, ("tokens_per_han",))
        for key, title, scale in rates:
            values = [(row["all"] if kind == "all" else row["languages"].get(kind, {})).get(key) for row in rows]
            if key not in left_out and any(values):
                lines.append((f"{title} ({kind})", ["-" if value is None else f"{scale * value:.3f}" for value in values]))
    for key, title in (("unused", message("never used on this text")), ("unreachable", message("unreachable")),
                       ("doubles", message("doubles after normalisation"))):  # fmt: skip
        lines.append((title, [f"{row[key]:,} ({row[key] / row['size']:.1%})" for row in rows]))
    wide = max(len(str(title)) for title, _ in lines)
    widths = [max(len(values[column]) for _, values in lines) for column in range(len(rows))]
    made = []
    for title, values in lines:
        made.append(f"{title!s:<{wide}}  " + "  ".join(f"{value:>{width}}" for value, width in zip(values, widths)))
    for name, row in zip(names, rows):
        made.append(f"{message('longest pieces')} ({name}): " + " ".join(map(repr, row["longest_used"])))
        made += [f"{name}: {note}" for note in row["notes"]]
    return made


def _figures(made: Counter[str]) -> dict[str, Any]:
    def rate(of: str, by: str) -> float | None:
        return made[of] / made[by] if made[by] else None

    return {"texts": made["texts"], "bytes": made["bytes"], "tokens": made["tokens"], "bytes_per_token": rate("bytes", "tokens"),
            "tokens_per_word": rate("tokens", "words"), "tokens_per_han": rate("tokens", "han"),
            "unknown": rate("unknown", "tokens")}  # fmt: skip


def _waste(tokenizer: Tokenizer, ordinary: list[int]) -> tuple[list[int], list[int]]:
    """Tokens that nothing becomes, and those that say what an earlier one says already. A token is tried as the text that it
    says, by itself and after a word; those whose bytes are no text by themselves cannot be tried and count as reachable."""
    tried: list[tuple[int, str]] = []
    for token in ordinary:
        try:
            said = tokenizer.piece(token).decode("utf-8")
        except UnicodeDecodeError:
            continue
        if said and "\ufffd" not in said:
            tried.append((token, said))
    if type(tokenizer.inner.model).__name__ == "WordPiece":
        unreachable = [token for token, said in tried if _words(tokenizer, said.removeprefix(" ")) != [said.removeprefix(" ")]]
    else:
        alone = tokenizer.encode_batch([said for _, said in tried])
        doubtful = [(token, said) for (token, said), ids in zip(tried, alone) if token not in ids]
        after = tokenizer.encode_batch([f"a{said}" for _, said in doubtful])
        spaced = tokenizer.encode_batch([said.removeprefix(" ") for _, said in doubtful])
        unreachable = [token for (token, _), one, two in zip(doubtful, after, spaced) if token not in one and token not in two]
    unreachable += [token for token in ordinary if not tokenizer.piece(token)]  # ids that say nothing
    seen: set[str] = set()
    doubles = []
    marks = {name: token for name, token in tokenizer.inner.get_vocab().items() if name.startswith("##")}
    inside = set(marks.values())  # a piece that goes on in a word is another than the same letters at its beginning
    for token, said in tried:
        normal = tokenizer.inner.normalizer.normalize_str(said) if tokenizer.inner.normalizer is not None else said
        if (key := f"{token in inside} {normal}") in seen:
            doubles.append(token)
        seen.add(key)
    return sorted(unreachable), doubles


def _words(tokenizer: Tokenizer, said: str) -> list[str]:
    """The words that WordPiece looks for pieces in: a piece that is not a part of one is never found."""
    inner = tokenizer.inner
    normal = inner.normalizer.normalize_str(said) if inner.normalizer is not None else said
    return [word for word, _ in inner.pre_tokenizer.pre_tokenize_str(normal)] if inner.pre_tokenizer is not None else [normal]


def _texts(path: str | None) -> list[str]:
    """The documents: of the shipped samples, or of a file (JSON lines with `text`, else one text) or a folder of such."""
    if path is None:
        folders = [files("yanmo.samples") / name for name in SAMPLES]
        inside = [each for folder in folders for each in sorted(folder.iterdir(), key=lambda each: each.name)]
        found = [_read(each.name, each.read_text(encoding="utf-8")) for each in inside if each.name.endswith(".jsonl")]
    else:
        place = Path(path)
        if not place.exists():
            raise RequestError(path, message("a file of text"), message("no such file"))
        chosen = sorted(each for each in place.rglob("*") if each.is_file()) if place.is_dir() else [place]
        try:
            found = [_read(str(each), each.read_bytes()[: 4 * MOST].decode("utf-8")) for each in chosen]
        except UnicodeDecodeError as error:
            raise DataError(path, message("UTF-8 text"), str(error)) from None
    texts = [text[:MOST] for each in found for text in each if text]
    if not texts:
        raise DataError(str(path), message("some text"), message("none"))
    return texts


def _read(name: str, content: str) -> list[str]:
    if not name.endswith(".jsonl"):
        return [content]
    made = []
    for number, line in enumerate(content.splitlines(), 1):
        if line.strip():
            try:
                made.append(json.loads(line)["text"])
            except (ValueError, KeyError, TypeError):
                raise DataError(f"{name}:{number}", message("a JSON object with 'text'"), line[:60]) from None
    return made
