"""Model directories: the one way in and out. Hugging Face layout, written whole or not at all.

    config.json  model.safetensors  generation_config.json  tokenizer.json  tokenizer_config.json  (posterior.safetensors)

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
from torch import Tensor

from yanmo.core import files
from yanmo.core.errors import CorruptError, DataError, RequestError, YanmoError, nearest
from yanmo.core.messages import text
from yanmo.core.registry import lookup, names
from yanmo.models import posterior
from yanmo.models.base import LanguageModel, Loaded
from yanmo.models.families.family import numbered
from yanmo.models.hf import HuggingFaceFamily
from yanmo.models.weights.folder import is_gguf, refuse_pickle

if TYPE_CHECKING:
    from yanmo.text.tokenizer import Tokenizer

CONFIG, ADAPTER = "config.json", "adapter_config.json"
LARGEST = 1 << 26  # bytes of a config.json; those with a hundred thousand labels have a tenth
KINDS = {"architectures": list, "id2label": dict, "label2id": dict, "yanmo": dict, "auto_map": dict}  # of what we look into


def save(
    folder: Path | str,
    model: Any,
    tokenizer: Tokenizer | None,
    *,
    labels: list[str] | None = None,
    extra: dict[str, Any] | None = None,
    deviations: dict[str, Tensor] | None = None,
) -> None:
    """Writes a model directory, in place of the one that may be there. `labels`: a classifier's or tagger's, in the order of its
    scores; `extra`: plain data kept under `yanmo` in config.json; `deviations`: of its parameters, where they are known
    (`posterior.py`). The same model gives the same bytes."""
    labels = list(labels if labels is not None else getattr(model, "labels", []))
    assert model.family in names("family"), f"{type(model).__name__}.family is {model.family!r}, which no family reads"
    with files.atomic(Path(folder)) as temporary:
        temporary.mkdir()
        config = lookup("family", model.family)().write(model, temporary)
        if deviations:
            posterior.write(temporary, deviations)
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
        if getattr(model, "problem", None):
            config["problem_type"] = model.problem
        extra = {**(extra or {}), **({} if tokenizer is None else {"tokenizer": tokenizer.identity()})}
        if extra or "yanmo" in config:
            config["yanmo"] = {**config.get("yanmo", {}), **extra}
        files.write_json(temporary / CONFIG, config)
        if ids and getattr(model, "gives", "text") == "text" and not labels:
            files.write_json(temporary / "generation_config.json", {**ids, "eos_token_id": tokenizer.ends})  # type: ignore[union-attr]


def load(path: Path | str, device: torch.device | str = "cpu", trust_code: bool = False) -> Loaded:
    """Opens a model directory, a stage's folder or a run. RequestError or DataError says what is wrong with it. What no family
    of ours reads, `transformers` opens; `trust_code`: also where the model brings code of its own."""
    folder = resolve(path)
    if is_adapter(folder):
        from yanmo.models.peft import opened

        return opened(folder, device=device)
    config = read_config(folder)
    family = family_of(config, folder)
    reader: Any = family(trust_code) if issubclass(family, HuggingFaceFamily) else family()
    tokenizer = read_tokenizer(folder)
    if tokenizer is not None:  # before a model is made
        if isinstance(config.get("vocab_size"), int):
            fits(tokenizer, config["vocab_size"], folder)
        belongs(tokenizer, config, folder)
    try:
        model = reader.read(folder, config)
    except (TypeError, ValueError, KeyError, IndexError, AttributeError, ArithmeticError, RuntimeError) as error:
        if isinstance(error, YanmoError):
            raise
        given = " ".join(f"{type(error).__name__}: {error}".split())[:300]  # a setting of a kind that nobody thought of
        raise DataError(str(folder), text("settings and tensors that make a model"), given) from error
    if isinstance(model, torch.nn.Module):
        model = model.to(device).eval()
    vocabulary = getattr(getattr(model, "backbone", model), "vocabulary", None)
    if tokenizer is not None and vocabulary is not None:
        fits(tokenizer, vocabulary, folder)
    unlabelled = isinstance(model, LanguageModel) or getattr(model, "gives", "") == "span"
    labels = [] if unlabelled else labels_of(config, folder)  # older configs name labels everywhere
    return Loaded(model, tokenizer, config, folder, labels)


def labels_of(config: dict[str, Any], folder: Path) -> list[str]:
    """A classifier's labels, in the order of its scores. DataError where id2label does not number them."""
    return numbered(config, f"{folder / CONFIG}: id2label")


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


def belongs(tokenizer: Tokenizer, config: dict[str, Any], folder: Path) -> None:
    """DataError where the model was saved with another tokenizer; one with more tokens behind the same ones is no other."""
    saved = (config.get("yanmo") or {}).get("tokenizer")
    if isinstance(saved, dict) and isinstance(saved.get("tokens"), int) and tokenizer.identity(saved["tokens"]) != saved:
        expected, given = text("the tokenizer that the model was trained with"), text("another: its tokens have other ids")
        raise DataError(str(folder), expected, given,
                        text("copy tokenizer.json and tokenizer_config.json from where the model came from"))  # fmt: skip


def read_config(folder: Path) -> dict[str, Any]:
    """config.json as it is, or what it would be for a GGUF file; CorruptError where it is not JSON."""
    if is_gguf(folder):
        from yanmo.models.gguf.model import opened

        return dict(opened(folder).config)
    if is_adapter(folder):
        from yanmo.models.peft import config_of

        return config_of(folder)
    place = folder / CONFIG
    if place.stat().st_size > LARGEST:
        raise DataError(str(place), text("at most {most} bytes", most=LARGEST), str(place.stat().st_size))
    try:
        config = files.read_json(place)
    except (ValueError, RecursionError) as error:
        raise CorruptError(str(place), text("valid JSON"), str(error)) from None
    if not isinstance(config, dict):
        raise CorruptError(str(place), text("a mapping"), type(config).__name__)
    for key, kind in KINDS.items():
        if config.get(key) is not None and not isinstance(config[key], kind):
            wanted = text("a mapping") if kind is dict else text("a list")
            raise DataError(f"{place}: {key}", wanted, str(config[key])[:80])
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
    for folder in (place, place / "model", place / "adapter"):
        if (folder / CONFIG).is_file() or is_adapter(folder):
            return [folder]
    if not (place / "recipe.yaml").is_file():
        return only if len(only := sorted(place.glob("*.gguf"))) == 1 else []
    from yanmo.core.manifest import stage_manifests

    found = []
    for manifest in stage_manifests(place):
        model, adapter = (place / manifest["stage"] / name for name in ("model", "adapter"))
        found += [model] if (model / CONFIG).is_file() else [adapter] if is_adapter(adapter) else []
    return found


def is_adapter(folder: Path) -> bool:
    """Whether the folder holds an adapter, in PEFT's layout, and not a whole model."""
    return (folder / ADAPTER).is_file() and not (folder / CONFIG).is_file()
