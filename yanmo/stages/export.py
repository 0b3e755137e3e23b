"""`yanmo export`: a model for other programs, proved equal to its source before it is there.

    hf     a Hugging Face folder: config.json, safetensors (sharded where asked), tokenizer.json: transformers, vLLM
    gguf   one file with tokenizer and chat template: llama.cpp and what is built on it
    onnx   an encoder or a classifier made of one: onnxruntime

What was written is opened again at once and must say what the source says: the same token ids for texts in several scripts,
logits within the type's tolerance. Otherwise nothing is left behind.
"""

from __future__ import annotations

import gc
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from yanmo.core import files
from yanmo.core.errors import CorruptError, DataError, RequestError
from yanmo.core.messages import Text, text
from yanmo.models.base import Inputs, LanguageModel, Loaded
from yanmo.models.classifier import Classifier
from yanmo.models.store import CONFIG, load, read_config, read_tokenizer, resolve
from yanmo.models.tagger import ChainTagger
from yanmo.models.weights.folder import read_tensors
from yanmo.models.weights.tensors import Cast, Tensors
from yanmo.models.weights.writing import write_tensors
from yanmo.text.tokenizer import Tokenizer

GENERATION = "generation_config.json"
DTYPES = {"hf": {"f32": torch.float32, "f16": torch.float16, "bf16": torch.bfloat16}}
CHOICES = {"hf": tuple(DTYPES["hf"]), "gguf": ("f32", "f16", "bf16", "q8_0", "q4_0"), "onnx": ("f32",)}
# The most that the logits may differ by: the norm of the difference over the norm of the source's, each position's mean
# taken off. A tensor in the wrong place gives about 1; what rounding alone gives stands in docs/reference and its test.
TOLERANCES = {"f32": 1e-4, "f16": 1e-2, "bf16": 5e-2, "q8_0": 1e-1, "q4_0": 6e-1}
POSITIONS = 48  # of each text that are compared
TEXTS = (
    "The capital of France is Paris, and that of Japan is Tokyo. It's 2024; don't ask 1,234 times.",
    "话说天下大势，分久必合，合久必分。研墨者，磨墨也。",
    "Crème brûlée, e\u0301cole 👩‍🔬🐋, Ελλάδα, Москва, القاهرة, 東京タワー, 서울, हिन्दी\n\tdef f(x): return x ** 2",
)


class Observed(NamedTuple):
    """What a model says about some ids: (T, …) float32 for each row."""

    values: list[Tensor]


def export(source: str | Path, to: str, target: str | Path, dtype: str = "f32", max_shard_bytes: int | None = None,
           name: str | None = None, log: Callable[[Text], None] = lambda line: None) -> dict[str, Any]:  # fmt: skip
    """Writes `target` (a folder, or for GGUF also a file) and returns what was compared: {path, format, dtype, bytes,
    texts, positions, largest_difference, difference, tolerance, notes}."""
    target = Path(target)
    if to not in CHOICES:
        raise RequestError("--to", text("one of {choices}", choices=", ".join(CHOICES)), to)
    if dtype not in CHOICES[to]:
        raise RequestError("--dtype", text("one of {choices}", choices=", ".join(CHOICES[to])), dtype)
    if max_shard_bytes is not None and to != "hf":
        raise RequestError("--max-shard-bytes", text("--to {format}", format="hf"), to)
    if target.exists():
        raise RequestError(str(target), text("a path where nothing is yet"), text("it is there already"))
    folder = resolve(source)
    config, tokenizer = read_config(folder), read_tokenizer(folder)
    kind = str((config.get("architectures") or [""])[0])
    if kind.endswith(ChainTagger.ending):
        remedy = text("none of them holds which tag follows which: train without 'crf', or give the folder itself")
        raise DataError(str(folder), text("a model that other programs open"), kind, remedy)
    rows, expected = said_by(folder, to, tokenizer)  # first of all: what does not open is not written either
    notes: list[Text] = []
    with files.atomic(target) as temporary:
        if to == "hf":
            _hf(temporary, folder, config, tokenizer, dtype, max_shard_bytes)
            result = temporary
        elif to == "gguf":
            result = temporary if target.suffix == ".gguf" else temporary / "model.gguf"
            notes = _gguf(result, folder, config, tokenizer, dtype, name)
        else:
            from yanmo.models import onnx

            temporary.mkdir()
            onnx.write(load(folder), temporary)
            result = temporary
        log(text("written; comparing with the source"))
        compared = _compare(rows, expected, result, to, tokenizer, TOLERANCES[dtype], str(target))
        size = sum(path.stat().st_size for path in ([temporary] if temporary.is_file() else files.files(temporary)))
    for note in notes:
        log(note)
    return {"path": str(target), "format": to, "dtype": dtype, "bytes": size, **compared, "notes": [str(note) for note in notes]}


# ------------------------------------------------------------------------------------------------ writing


def _hf(folder: Path, source: Path, config: dict[str, Any], tokenizer: Tokenizer | None, dtype: str,
        max_shard_bytes: int | None) -> None:  # fmt: skip
    if str(config.get("model_type")).startswith("yanmo_"):
        raise DataError(f"{source}: model_type", text("a published kind of model"), str(config["model_type"]),
                        text("no other program knows it: the folder itself is all there is to give"))  # fmt: skip
    tensors: Tensors = Cast(read_tensors(source), DTYPES["hf"][dtype])
    folder.mkdir()
    write_tensors(folder, tensors, max_shard_bytes)
    names = {"f32": "float32", "f16": "float16", "bf16": "bfloat16"}
    described = {key: value for key, value in config.items() if key != "torch_dtype"} | {"dtype": names[dtype]}
    files.write_json(folder / CONFIG, described)
    if tokenizer is not None:
        tokenizer.save(folder)
    if (source / GENERATION).is_file():
        files.write_json(folder / GENERATION, _generation(source / GENERATION))
    elif tokenizer is not None and source.is_file():
        ids = {f"{role}_token_id": getattr(tokenizer, f"{role}_id") for role in ("bos", "eos", "pad")}
        files.write_json(folder / GENERATION, ids)


def _generation(path: Path) -> dict[str, Any]:
    try:
        found = files.read_json(path)
    except (ValueError, RecursionError) as error:
        raise CorruptError(str(path), text("valid JSON"), str(error)) from None
    if not isinstance(found, dict):
        raise CorruptError(str(path), text("a mapping"), type(found).__name__)
    return found


def _gguf(file: Path, source: Path, config: dict[str, Any], tokenizer: Tokenizer | None, dtype: str,
          name: str | None) -> list[Text]:  # fmt: skip
    from yanmo.models.gguf.plan import planned
    from yanmo.models.gguf.vocabulary import metadata
    from yanmo.models.gguf.writer import write

    place = str(source / CONFIG if source.is_dir() else source)
    keys, tensors = planned(config, read_tensors(source), dtype, place)
    if name is not None:
        keys["general.name"] = name
    notes: list[Text] = []
    if tokenizer is None:
        keys["tokenizer.ggml.model"] = "no_vocab"
    else:
        words, notes = metadata(tokenizer, config["vocab_size"])
        keys |= words
    file.parent.mkdir(exist_ok=True)
    write(file, keys, tensors)
    return notes


# ------------------------------------------------------------------------------------------------ comparing


def said_by(source: Path, to: str, tokenizer: Tokenizer | None) -> tuple[list[list[int]], Observed]:
    """The rows that source and result are asked about, and what the source says; it is gone again afterwards."""
    opened = load(source)
    rows = probes(tokenizer, opened)
    expected = observe(opened, rows, _headless(opened.config, to))
    del opened
    gc.collect()
    return rows, expected


def _headless(config: dict[str, Any], to: str) -> bool:
    return to == "gguf" and config["model_type"] == "bert"  # the format has no place for its head


def _compare(rows: list[list[int]], expected: Observed, result: Path, to: str, tokenizer: Tokenizer | None, tolerance: float,
             target: str) -> dict[str, Any]:  # fmt: skip
    """Opens the result and holds what it says against the source's."""
    if to == "onnx":
        from yanmo.models import onnx

        found = Observed(onnx.run(result, rows))
        again = Tokenizer.load(result) if tokenizer is not None else None
    else:
        reopened = load(result)
        found, again = observe(reopened, rows, _headless(reopened.config, to)), reopened.tokenizer
    if tokenizer is not None:
        _same_ids(tokenizer, again, target)
    largest, difference = distance(expected, found)
    if not difference <= tolerance:
        wanted = text("logits that differ from the source's by at most {tolerance} of their size", tolerance=tolerance)
        raise CorruptError(target, wanted, text("{difference} (the largest difference is {largest}); nothing was kept",
                                                difference=f"{difference:.3g}", largest=f"{largest:.3g}"))  # fmt: skip
    return {"texts": len(rows), "positions": sum(map(len, rows)), "largest_difference": largest, "difference": difference,
            "tolerance": tolerance}  # fmt: skip


def probes(tokenizer: Tokenizer | None, loaded: Loaded) -> list[list[int]]:
    """The rows that both are asked about: texts in several scripts, or, without a tokenizer, ids spread over the vocabulary."""
    length = min(POSITIONS, getattr(loaded.model, "context", None) or POSITIONS)
    if tokenizer is not None:
        return [tokenizer.add_special(tokenizer.encode(each)[: length - 3]).ids for each in TEXTS if length > 3]
    vocabulary = getattr(getattr(loaded.model, "backbone", loaded.model), "vocabulary", None)
    if vocabulary is None:
        raise DataError(str(loaded.folder), text("a model of tokens"), type(loaded.model).__name__)
    return [[(7919 * place + row) % vocabulary for place in range(length)] for row in range(3)]


@torch.inference_mode()
def observe(loaded: Loaded, rows: list[list[int]], headless: bool = False) -> Observed:
    """Logits, or hidden states of an encoder without a head, for each row alone, so that no padding has a say."""
    model = loaded.model
    if not isinstance(model, (LanguageModel, Classifier)):
        raise DataError(str(loaded.folder), text("a neural model"), type(model).__name__)
    values = []
    for row in rows:
        tokens = torch.tensor([row])
        source = Inputs(tokens) if getattr(model, "kind", "") == "encoder-decoder" else None
        inputs = Inputs(tokens, source=source)
        if isinstance(model, Classifier):
            value = model(inputs)
        elif headless or bare(model):
            value = model.encode(inputs)[0]
        else:
            value = model(inputs).logits[0]
        values.append(value.float())
    return Observed(values)


def bare(model: Any) -> bool:
    """Whether an encoder has no head that predicts tokens: it is there for its hidden states."""
    part = getattr(model, "part", None)
    return getattr(part, "architecture", "") == "encoder" and not part.head.transform and not part.head.bias  # type: ignore[union-attr]


def distance(expected: Observed, found: Observed) -> tuple[float, float]:
    """The largest absolute difference, and the norm of the difference over that of what was expected, means taken off."""
    largest, square, size = 0.0, 0.0, 0.0
    for a, b in zip(expected.values, found.values, strict=True):
        if a.shape != b.shape:
            return float("inf"), float("inf")
        a, b = a.double(), b.double()
        largest = max(largest, float((a - b).abs().max()))
        a, b = a - a.mean(-1, keepdim=True), b - b.mean(-1, keepdim=True)
        square += float((a - b).square().sum())
        size += float(a.square().sum())
    return largest, (square / max(size, 1e-30)) ** 0.5


def _same_ids(tokenizer: Tokenizer, again: Tokenizer | None, target: str) -> None:
    for each in TEXTS:
        ids, found = tokenizer.encode(each), None if again is None else again.encode(each)
        if ids != found:
            raise CorruptError(target, text("the token ids of the source's tokenizer"),
                               text("others for {text}; nothing was kept", text=repr(each[:40])))  # fmt: skip
