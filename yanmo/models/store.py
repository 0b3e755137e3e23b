"""Model directories: the one way in and out. Hugging Face layout, written whole or not at all.

    config.json  model.safetensors  generation_config.json  tokenizer.json  tokenizer_config.json

`config.json`'s `model_type` says which family reads the directory; `yanmo` in it holds what only we know (the context
it was trained with, say). A path may name a model directory, a stage's folder (its `model/`), a run (its last model), or a
GGUF file (or the folder of a single one), which is read as the directory that it would be.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from yanmo.core import files
from yanmo.core.errors import CorruptError, DataError, RequestError, nearest
from yanmo.core.messages import text
from yanmo.core.registry import lookup, names
from yanmo.models.base import LanguageModel, Loaded
from yanmo.models.hf import HuggingFaceFamily
from yanmo.models.weights.folder import is_gguf, refuse_pickle

if TYPE_CHECKING:
    from yanmo.text.tokenizer import Tokenizer

CONFIG = "config.json"


def save(
    folder: Path | str,
    model: Any,
    tokenizer: Tokenizer | None,
    *,
    labels: list[str] | None = None,
    extra: dict[str, Any] | None = None,
) -> None:
    """Writes a model directory, in place of the one that may be there. `labels`: a classifier's, in the order of its
    scores; `extra`: plain data kept under `yanmo` in config.json. The same model gives the same bytes."""
    labels = list(labels if labels is not None else getattr(model, "labels", []))
    assert model.family in names("family"), f"{type(model).__name__}.family is {model.family!r}, which no family reads"
    with files.atomic(Path(folder)) as temporary:
        temporary.mkdir()
        config = lookup("family", model.family)().write(model, temporary)
        ids: dict[str, Any] = {}
        if tokenizer is not None:
            ids = {"bos_token_id": tokenizer.bos_id, "eos_token_id": tokenizer.eos_id, "pad_token_id": tokenizer.pad_id}
            if getattr(model, "kind", "") == "encoder-decoder":  # BART begins an answer with the end of a text, T5 with padding
                ends = model.family == "bart" or (extra or {}).get("objective") == "denoise"
                ids["decoder_start_token_id"] = tokenizer.eos_id if ends else tokenizer.pad_id
            tokenizer.save(temporary)
        config |= ids
        if labels:
            config["id2label"] = {str(index): label for index, label in enumerate(labels)}
            config["label2id"] = {label: index for index, label in enumerate(labels)}
        if extra or "yanmo" in config:
            config["yanmo"] = {**config.get("yanmo", {}), **(extra or {})}
        files.write_json(temporary / CONFIG, config)
        if ids and not labels:
            files.write_json(temporary / "generation_config.json", {**ids, "eos_token_id": tokenizer.ends})  # type: ignore[union-attr]


def load(path: Path | str, device: torch.device | str = "cpu", trust_code: bool = False) -> Loaded:
    """Opens a model directory, a stage's folder or a run. RequestError or DataError says what is wrong with it. What no family
    of ours reads, `transformers` opens; `trust_code`: also where the model brings code of its own."""
    folder = resolve(path)
    config = read_config(folder)
    family = family_of(config, folder)
    reader: Any = HuggingFaceFamily(trust_code) if family is HuggingFaceFamily else family()
    tokenizer = read_tokenizer(folder)
    if tokenizer is not None and isinstance(config.get("vocab_size"), int):
        fits(tokenizer, config["vocab_size"], folder)  # before a model is made
    model = reader.read(folder, config)
    if isinstance(model, torch.nn.Module):
        model = model.to(device).eval()
    vocabulary = getattr(getattr(model, "backbone", model), "vocabulary", None)
    if tokenizer is not None and vocabulary is not None:
        fits(tokenizer, vocabulary, folder)
    named = {} if isinstance(model, LanguageModel) else config.get("id2label") or {}  # older configs name labels everywhere
    labels = sorted(named.items(), key=lambda item: int(item[0]))
    return Loaded(model, tokenizer, config, folder, [label for _, label in labels])


def family_of(config: dict[str, Any], folder: Path) -> Any:
    """The class that reads a directory: of the families, the one that the config names and that has its architecture, else
    transformers'. DataError for a `model_type` that nobody knows."""
    kind, known = str(config.get("model_type")), names("family")
    name = str((config.get("architectures") or [""])[0])
    if kind in known:
        family = lookup("family", kind)
        if not name or kind.startswith("yanmo_") or name in family.architectures():
            return family
    if find_spec("transformers") is not None:
        from transformers.models.auto.configuration_auto import CONFIG_MAPPING_NAMES

        if kind in CONFIG_MAPPING_NAMES or config.get("auto_map"):
            return HuggingFaceFamily
    if kind in known:
        return lookup("family", kind)  # which says what it has instead
    raise DataError(str(folder / CONFIG), text("a 'model_type' that we read: {names}", names=", ".join(known)),
                    kind, nearest(kind, known))  # fmt: skip


def read_tokenizer(folder: Path) -> Tokenizer | None:
    """A model directory's tokenizer, or a GGUF file's; None where there is none."""
    from yanmo.text.tokenizer import Tokenizer

    if is_gguf(folder):
        from yanmo.models.gguf.model import opened
        from yanmo.models.gguf.vocabulary import read

        return read(opened(folder).vocabulary, str(folder))
    return Tokenizer.load(folder) if (folder / "tokenizer.json").is_file() else None


def fits(tokenizer: Tokenizer, vocabulary: int, folder: Path) -> None:
    """DataError for a tokenizer with more tokens than the model has."""
    if tokenizer.size > vocabulary:
        raise DataError(str(folder), text("a tokenizer of at most {size} tokens, as many as the model has", size=vocabulary),
                        str(tokenizer.size))  # fmt: skip


def read_config(folder: Path) -> dict[str, Any]:
    """config.json as it is, or what it would be for a GGUF file; CorruptError where it is not JSON."""
    if is_gguf(folder):
        from yanmo.models.gguf.model import opened

        return dict(opened(folder).config)
    try:
        config = files.read_json(folder / CONFIG)
    except (ValueError, RecursionError) as error:
        raise CorruptError(str(folder / CONFIG), text("valid JSON"), str(error)) from None
    if not isinstance(config, dict):
        raise CorruptError(str(folder / CONFIG), text("a mapping"), type(config).__name__)
    return config


def resolve(path: Path | str, able: Callable[[dict[str, Any]], bool] | None = None) -> Path:
    """The model directory that `path` names: itself, a stage's `model/`, or of a run the last one in its recipe's order
    whose config `able` accepts (by default any)."""
    place = Path(path)
    found = candidates(place)
    fit = [folder for folder in found if able is None or able(read_config(folder))]
    if fit:
        return fit[-1]
    if found:
        raise RequestError(str(path), text("a model that can do this"), ", ".join(str(folder) for folder in found))
    if not place.exists():
        siblings = [p.name for p in place.parent.iterdir() if p.is_dir()] if place.parent.is_dir() else []
        close = nearest(place.name, siblings) if siblings and place.name else None
        raise RequestError(str(path), text("a run, a stage or a model directory"), text("no such folder"), close)
    raise RequestError(str(path), text("a run, a stage or a model directory"), text("no {name} in it", name=CONFIG))


def candidates(path: Path | str) -> list[Path]:
    """The model directories that `path` names, a run's in the order of its recipe; empty where there is none."""
    place = Path(path)
    if is_gguf(place):
        return [place]
    if place.is_file():
        refuse_pickle(place)
    for folder in (place, place / "model"):
        if (folder / CONFIG).is_file():
            return [folder]
    if not (place / "recipe.yaml").is_file():
        return only if len(only := sorted(place.glob("*.gguf"))) == 1 else []
    from yanmo.core.manifest import stage_manifests

    stages = [place / manifest["stage"] / "model" for manifest in stage_manifests(place)]
    return [folder for folder in stages if (folder / CONFIG).is_file()]
