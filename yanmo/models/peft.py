"""Adapters in PEFT's published layout, there and back.

    adapter_config.json         what it is: rank, alpha, targets, the base that it stands beside
    adapter_model.safetensors   base_model.model.NAME.lora_A.weight (r, I) and lora_B.weight (O, r), lora_magnitude_vector (O,);
                                a head that was trained along, whole; of a soft prompt, prompt_embeddings (P, D)
    tokenizer.json …            the base's, so that the folder is enough beside the base

NAME is what the matrix is called where the model was published, so that `peft` opens the folder on that base. Where several
of our maps are one matrix there (GPT-2's c_attn), their pairs become one: A side by side, B block by block.

Read, an adapter is merged into its base at once.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from yanmo.core import files
from yanmo.core.errors import CorruptError, DataError
from yanmo.core.messages import text
from yanmo.core.registry import lookup
from yanmo.models.adapter import backbone_of
from yanmo.models.base import Loaded
from yanmo.models.families.family import sizes
from yanmo.models.hf import HuggingFaceModel
from yanmo.models.weights.header import read_header
from yanmo.models.weights.tensors import Held, finite
from yanmo.models.weights.writing import write_file

if TYPE_CHECKING:
    from yanmo.models.lora import Lora
    from yanmo.text.tokenizer import Tokenizer

CONFIG, WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
OUTER = "base_model."  # before the head of a model with a soft prompt
PREFIX = f"{OUTER}model."
TASKS = {"classify": "SEQ_CLS", "tag": "TOKEN_CLS", "span": "QUESTION_ANS"}  # by what a model with a head gives
KNOWN: dict[str, tuple[Any, ...]] = {  # settings that change what an adapter gives, and the values that we compute
    "bias": ("none",), "layer_replication": (None, []), "use_qalora": (None, False), "lora_bias": (None, False),
    "megatron_config": (None,), "trainable_token_indices": (None,), "alora_invocation_tokens": (None,),
    "target_parameters": (None, []), "arrow_config": (None,),
}  # fmt: skip


def task_of(model: Any) -> str:
    kinds = {"encoder-decoder": "SEQ_2_SEQ_LM", "causal": "CAUSAL_LM"}
    return TASKS.get(getattr(model, "gives", ""), kinds.get(backbone_of(model).kind, "FEATURE_EXTRACTION"))


def write(folder: Path, config: dict[str, Any], tensors: dict[str, Tensor], tokenizer: Tokenizer | None,
          labels: list[str]) -> None:  # fmt: skip
    """Writes the folder whole; the same adapter gives the same bytes."""
    with files.atomic(folder) as temporary:
        temporary.mkdir()
        kept = {name: value.detach().float().cpu().contiguous() for name, value in tensors.items()}
        write_file(temporary / WEIGHTS, Held(kept), list(kept))
        if tokenizer is not None:
            tokenizer.save(temporary)
        if labels:
            files.write_json(temporary / "labels.json", labels)
        files.write_json(temporary / CONFIG, dict(sorted(config.items())))


# ------------------------------------------------------------------------------------------------ LoRA, written


def write_lora(folder: Path, part: Lora, model: Any, base: str, tokenizer: Tokenizer | None, labels: list[str]) -> None:
    from yanmo.models.lora import adapted

    tensors: dict[str, Tensor] = {}
    ranks: dict[str, int] = {}
    turned: set[bool] = set()
    for path, layer in adapted(model).items():
        for name, (down, up, magnitude) in _published(model, path, layer).items():
            turned.add(_turned(model, path, layer))
            ranks[name] = down.shape[0]
            tensors |= {f"{PREFIX}{name}.lora_A.weight": down, f"{PREFIX}{name}.lora_B.weight": up}
            if magnitude is not None:
                tensors[f"{PREFIX}{name}.lora_magnitude_vector"] = magnitude
    assert len(turned) == 1, "a family that keeps some of its matrices the other way round"
    heads = heads_of(model)
    tensors |= {PREFIX + name: value for name, value in heads.items()}
    other = {name: rank for name, rank in ranks.items() if rank != part.rank}
    grown = {name: part.alpha * (rank / part.rank) ** (0.5 if part.rslora else 1.0) for name, rank in other.items()}
    config = {
        "peft_type": "LORA", "task_type": task_of(model), "base_model_name_or_path": base, "inference_mode": True,
        "r": part.rank, "lora_alpha": _number(part.alpha), "lora_dropout": part.dropout, "use_rslora": part.rslora,
        "use_dora": part.dora, "fan_in_fan_out": turned.pop(), "bias": "none", "init_lora_weights": True,
        "target_modules": _targets(model, sorted(ranks)), "rank_pattern": other,
        "alpha_pattern": {name: _number(alpha) for name, alpha in grown.items()},
        "modules_to_save": sorted({name.rpartition(".")[0] for name in heads}) or None,
    }  # fmt: skip
    write(folder, config, tensors, tokenizer, labels)


def _number(value: float) -> float | int:
    return int(value) if value == int(value) else value


def _published(model: Any, path: str, layer: Any) -> dict[str, tuple[Tensor, Tensor, Tensor | None]]:
    """Module's published name → (A, B, magnitude or None) of each published matrix that holds an adapted piece."""
    ends, found = 0, {}
    lengths = layer.merged().square().sum(1).sqrt() if layer.magnitude else None
    for name, size in zip(layer.names, _parts(layer)):
        start, ends = ends, ends + size
        inside = {p: span for p, span in layer.spans.items() if start <= span[0] and span[1] <= ends}
        if not inside:
            continue
        down = torch.cat([layer.down[p] for p in inside])
        up = down.new_zeros(size, down.shape[0])
        for index, (p, span) in enumerate(inside.items()):
            up[span[0] - start : span[1] - start, index * layer.rank : (index + 1) * layer.rank] = layer.up[p].detach()
        magnitude = None
        if lengths is not None:
            magnitude = lengths[start:ends]  # rows without a pair keep the length that they have
            for p, span in inside.items():
                magnitude[span[0] - start : span[1] - start] = layer.magnitude[p].detach()
            magnitude = _rows(model, path, magnitude[:, None])[:, 0]
        found[name.removesuffix(".weight")] = (down, _rows(model, path, up), magnitude)
    return found


def _parts(layer: Any) -> tuple[int, ...]:
    from yanmo.models.lora import pieces

    return (layer.out_features,) if len(layer.names) == 1 else pieces(layer.base)


def _turned(model: Any, path: str, layer: Any) -> bool:
    """Whether the family keeps such a matrix the other way round (GPT-2's Conv1D)."""
    backbone = backbone_of(model)
    if isinstance(backbone, HuggingFaceModel):
        return False
    shape = (layer.out_features, layer.out_features + 1)
    like = lookup("family", model.family)().published(backbone, f"{path}.weight", torch.empty(shape, device="meta"))
    return tuple(like.shape) == shape[::-1]


def _rows(model: Any, path: str, value: Tensor) -> Tensor:
    """Rows (O, n) in the order in which the family publishes those of the layer's matrix."""
    backbone = backbone_of(model)
    if isinstance(backbone, HuggingFaceModel):
        return value
    order = torch.arange(len(value), dtype=torch.float64)[:, None].expand(-1, 2)
    moved = lookup("family", model.family)().published(backbone, f"{path}.weight", order)
    moved = moved if moved.shape == order.shape else moved.T
    return value[moved[:, 0].long().to(value.device)]


def _targets(model: Any, chosen: list[str]) -> list[str]:
    """The shortest endings that name the chosen matrices and no others of the base; their whole names where no ending does."""
    endings = sorted({name.rpartition(".")[2] for name in chosen})
    hit = {name for name in {*backbone_of(model).matrices, *chosen} if name.rpartition(".")[2] in endings}
    return endings if hit == set(chosen) else chosen


def heads_of(model: Any) -> dict[str, Tensor]:
    """What was trained beside the adapter, by its published name."""
    backbone = backbone_of(model)
    if backbone is model:
        return {}
    own = head_name(model)
    return {f"{own}.{kind}": value for kind, value in model.head.named_parameters()}


def head_name(model: Any) -> str:
    """What a model's own layer is called where the model is published."""
    family = lookup("family", model.family)()
    return {"classify": family.score, "tag": family.tags, "span": family.edges}[model.gives]


# ------------------------------------------------------------------------------------------------ read


def opened(folder: Path, base: Path | str | None = None, device: torch.device | str = "cpu") -> Loaded:
    """An adapter's folder on its base (the one that it names, unless given): the model whole, the adapter merged into it.
    DataError for what is not there or is not ours to read."""
    from yanmo.models.store import load

    config = _config(folder)
    loaded = load(_base(folder, config) if base is None else base, device)
    tensors = _tensors(folder)
    model = _with_head(loaded.model, config, tensors, folder)
    if config["peft_type"] == "PROMPT_TUNING":
        from yanmo.models.soft_prompt import prompted

        model = prompted(model, _prompt(tensors, folder))
    else:
        merge(model, config, tensors, folder)
    tokenizer = loaded.tokenizer
    if (folder / "tokenizer.json").is_file():
        from yanmo.text.tokenizer import Tokenizer

        tokenizer = Tokenizer.load(folder)
    labels = files.read_json(folder / "labels.json") if (folder / "labels.json").is_file() else []
    if not labels and getattr(model, "gives", "") in ("classify", "tag"):
        labels = [f"LABEL_{number}" for number in range(model.head.out_features)]
    told = {**loaded.config, "yanmo": {"adapter": str(config["peft_type"])}}
    return Loaded(model.to(device).eval(), tokenizer, told, folder, labels)


def _config(folder: Path) -> dict[str, Any]:
    place = folder / CONFIG
    try:
        config = files.read_json(place)
    except (ValueError, RecursionError) as error:
        raise CorruptError(str(place), text("valid JSON"), str(error)) from None
    if not isinstance(config, dict):
        raise CorruptError(str(place), text("a mapping"), type(config).__name__)
    if config.get("peft_type") not in ("LORA", "PROMPT_TUNING"):
        kinds = text("one of {choices}", choices="LORA, PROMPT_TUNING")
        raise DataError(f"{place}: peft_type", kinds, str(config.get("peft_type")))
    for key, values in KNOWN.items():
        if key in config and config[key] not in values:
            choices = text("one of {choices}", choices=", ".join(map(str, values)))
            raise DataError(f"{place}: {key}", choices, str(config[key])[:80], text("this setting is not supported"))
    return config


def _base(folder: Path, config: dict[str, Any]) -> Path:
    """Where the base is: as the config names it, from the folder on or from here."""
    named = str(config.get("base_model_name_or_path") or "")
    for place in (folder / named, Path(named)):
        if named and place.exists():
            return place
    raise DataError(f"{folder / CONFIG}: base_model_name_or_path", text("the model that the adapter stands beside"),
                    named or text("none"))  # fmt: skip


def config_of(folder: Path) -> dict[str, Any]:
    """What the config.json of the model on its base would be."""
    from yanmo.models.store import read_config, resolve

    config = read_config(resolve(_base(folder, _config(folder))))
    labels = files.read_json(folder / "labels.json") if (folder / "labels.json").is_file() else []
    return {**config, **({"id2label": {str(number): label for number, label in enumerate(labels)}} if labels else {})}


def _tensors(folder: Path) -> dict[str, Tensor]:
    from safetensors.torch import load_file

    place = folder / WEIGHTS
    if not place.is_file():
        raise DataError(str(folder), text("an adapter's folder"), text("no {name} in it", name=WEIGHTS))
    read_header(place)
    return {name: finite(value, name, str(place)).float() for name, value in load_file(place).items()}


def _with_head(model: Any, config: dict[str, Any], tensors: dict[str, Tensor], folder: Path) -> Any:
    """The base with the head that the adapter was trained with, whose tensors are taken out of `tensors`."""
    ending = next((task for task, name in TASKS.items() if name == config.get("task_type")), None)
    if ending is None:
        return model
    from yanmo.models.families.family import MADE

    made: Any = next(cls for cls in MADE.values() if cls.gives == ending)
    plain = {name.removeprefix(PREFIX).removeprefix(OUTER): name for name in tensors
             if ".lora_" not in name and name != "prompt_embeddings"}  # fmt: skip
    weight = next((tensors[name] for short, name in plain.items() if short.endswith(".weight")), None)
    if weight is None:
        wanted = text("the head of a model for {task}", task=str(config["task_type"]))
        raise DataError(str(folder / WEIGHTS), wanted, text("none"))
    backbone = backbone_of(model)
    headed = made(backbone, len(weight)) if made.layer == "score" else made(backbone)
    with torch.no_grad():
        for kind, value in headed.head.named_parameters():
            name = plain.get(f"{head_name(headed)}.{kind}")
            if name is None or tensors[name].shape != value.shape:
                wanted = text("a tensor {name}", name=f"{PREFIX}{head_name(headed)}.{kind}")
                raise DataError(str(folder / WEIGHTS), wanted, text("none"))
            value.copy_(tensors.pop(name))
    return headed


def _prompt(tensors: dict[str, Tensor], folder: Path) -> Tensor:
    if set(tensors) != {"prompt_embeddings"}:
        raise DataError(str(folder / WEIGHTS), text("a tensor {name}", name="prompt_embeddings"), ", ".join(sorted(tensors)[:5]))
    return tensors["prompt_embeddings"]


@torch.no_grad()
def merge(model: Any, config: dict[str, Any], tensors: dict[str, Tensor], folder: Path) -> None:
    """Adds a LoRA's products to the base's matrices, in place. DataError where the base has no such matrix."""
    pairs = {name.removeprefix(PREFIX).removesuffix(".lora_A.weight") for name in tensors if name.endswith(".lora_A.weight")}
    known = {f"{PREFIX}{name}.{end}" for name in pairs for end in ("lora_A.weight", "lora_B.weight", "lora_magnitude_vector")}
    strange = sorted(set(tensors) - known)
    if strange or not pairs:
        raise DataError(str(folder / WEIGHTS), text("pairs of lora_A and lora_B"), ", ".join(strange[:5]) or text("none"))
    missing = set(pairs)
    for name, target, there, back in _matrices(model):
        if name in pairs:
            missing.discard(name)
            weight = there(target)
            turned = bool(config.get("fan_in_fan_out"))
            made = _product(weight.T if turned else weight, name, config, tensors, folder)
            target.copy_(back(made.T if turned else made))
    if missing:
        given = ", ".join(sorted(missing)[:5]) + (f" … ({len(missing)})" if len(missing) > 5 else "")
        raise DataError(str(folder), text("an adapter of this base"), given)


def _product(weight: Tensor, name: str, config: dict[str, Any], tensors: dict[str, Tensor], folder: Path) -> Tensor:
    """(O, I): the matrix with the adapter in it."""
    none = weight.new_zeros(0, 0)
    down, up = (tensors.get(f"{PREFIX}{name}.{end}.weight", none).to(weight.device) for end in ("lora_A", "lora_B"))
    if down.ndim != 2 or up.ndim != 2 or (up.shape[0], down.shape[1], up.shape[1]) != (*weight.shape, down.shape[0]):
        shapes = f"{tuple(up.shape)} · {tuple(down.shape)}"
        raise DataError(f"{folder / WEIGHTS}: {name}", text("a product of shape {shape}", shape=str(tuple(weight.shape))), shapes)
    rank, alpha = down.shape[0], config.get("lora_alpha") or 8
    for key, own in (config.get("alpha_pattern") or {}).items():
        alpha = own if name == key or name.endswith(f".{key}") else alpha
    made = weight + float(alpha) / (rank**0.5 if config.get("use_rslora") else rank) * up @ down
    magnitude = tensors.get(f"{PREFIX}{name}.lora_magnitude_vector")
    if magnitude is None:
        return made
    return made * (magnitude.to(weight.device).view(-1) / made.square().sum(1).sqrt().clamp(min=1e-12))[:, None]


def _matrices(model: Any) -> Iterator[tuple[str, Tensor, Any, Any]]:
    """(published name, our tensor, how it is laid out there, and back) of each matrix of the base."""
    backbone = backbone_of(model)
    if isinstance(backbone, HuggingFaceModel):
        for path, module in backbone.inner.named_modules():
            if isinstance(module, torch.nn.Linear):
                yield path, module.weight, lambda x: x, lambda x: x
        return
    family = lookup("family", model.family)()
    for ours, theirs in family.names(backbone).items():
        parameter = backbone.get_parameter(ours)
        for name, piece in zip(theirs, parameter.split(sizes(parameter, theirs)), strict=True):
            if name.endswith(".weight") and parameter.ndim == 2:
                yield (name.removesuffix(".weight"), piece, lambda x, ours=ours: family.published(backbone, ours, x),
                       lambda x, ours=ours: family.taken(backbone, ours, x))  # fmt: skip
