"""Any model that `transformers` knows and no family of ours reads: its own module behind our interface.

Two ways, the first that proves itself when the model is opened:

    attending   our attention stands in for the model's (`transformers.AttentionInterface`), so that keys and values lie in
                slots and the engine batches the model like any other
    rereading   the model's own forward pass; what is remembered between tokens is the tokens, and each pass reads the row
                again: slower, and right for whatever the model does inside (Mamba, XLNet, encoder-decoders)

A model attends where it gives, whole and chunk by chunk, the logits that it gives with its own plain attention; else it
rereads. Code that comes with a model (`auto_map`) is never run unless asked for.
"""

from __future__ import annotations

import inspect
import json
import threading
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from yanmo.core.errors import DataError, RequestError
from yanmo.core.extras import needed
from yanmo.core.messages import text
from yanmo.models.base import Inputs, LanguageModel, Output, Slots, StateSpec
from yanmo.models.families.family import Family
from yanmo.models.weights.folder import read_tensors
from yanmo.models.weights.plausible import plausible
from yanmo.models.weights.tensors import finite
from yanmo.nn.attention import attend
from yanmo.nn.heads import Reduce
from yanmo.nn.pooling import last, mean
from yanmo.nn.state import DenseSlots

NAME = "yanmo"  # of our attention in transformers' table
TOLERANCE = 1e-3  # of the largest logit
PROBE = 24  # tokens of the trial
QUIET = {"position_ids", "cache_position", "use_cache", "output_attentions", "output_hidden_states", "return_dict",
         "position_embeddings", "logits_to_keep", "num_items_in_batch", "is_causal"}  # fmt: skip  # say nothing about the scores
_now = threading.local()  # the pass that this thread is in


def attention(module: nn.Module, query: Tensor, key: Tensor, value: Tensor, attention_mask: Tensor | None = None, *,
              scaling: float | None = None, dropout: float = 0.0, sliding_window: int | None = None,
              softcap: float | None = None, position_bias: Tensor | None = None,
              **others: Any) -> tuple[Tensor, None]:  # fmt: skip
    """Theirs is (B, H, T, D). RequestError for an argument that `attend` does not know: dropped silently, it would give other
    logits than the model was trained with."""
    strange = sorted(name for name, given in others.items() if given is not None and given is not False and name not in QUIET)
    if strange or (dropout and module.training):
        name = (strange or ["dropout"])[0]
        raise RequestError(text("attention"), None, text("'{name}' is needed and is not supported", name=name))
    inputs, slots, seen = _now.inputs, _now.slots, _now.layers
    layer = getattr(module, "layer_idx", None)
    if seen is not None:
        seen[layer] = (tuple(key.shape[1::2]), tuple(value.shape[1::2]))
    out = attend(query.transpose(1, 2), key.transpose(1, 2), value.transpose(1, 2), layer=layer, slots=slots,
                 causal=_now.causal, mask=inputs.mask, documents=inputs.documents, bias=position_bias, window=sliding_window,
                 softcap=softcap, scale=scaling)  # fmt: skip
    return out, None


class HuggingFaceModel(LanguageModel):
    """A module of transformers, `inner`. `attends` says which of the two ways it goes."""

    family = "huggingface"

    def __init__(self, inner: Any, kind: str):
        super().__init__()
        self.inner, self.kind = inner, kind
        config = inner.config.get_text_config() if hasattr(inner.config, "get_text_config") else inner.config
        self.vocabulary = int(config.vocab_size)
        context = getattr(config, "max_position_embeddings", None) or getattr(config, "n_positions", None)
        self.context = context if context and context > 0 else None  # XLNet's is -1
        self.width = int(getattr(config, "hidden_size", None) or config.d_model)
        self.head = None
        self.takes = set(inspect.signature(inner.forward).parameters)
        self.layers: dict[int, tuple[tuple[int, ...], tuple[int, ...]]] = {}  # layer → shapes of a token's key and value
        self.attends = kind == "causal" and self._proves()

    def state(self) -> dict[str, StateSpec]:
        if self.kind == "masked":
            return {}
        if self.attends:
            dtype = next(self.inner.parameters()).dtype
            return {f"{name}.{layer}": StateSpec(shape, dtype, per_token=True)
                    for layer, shapes in self.layers.items() for name, shape in zip(("keys", "values"), shapes)}  # fmt: skip
        spec = {"tokens": StateSpec((), torch.int64, per_token=True)}
        if self.kind == "encoder-decoder":
            spec |= {"source": StateSpec((self.context or 1024,), torch.int64, per_token=False),
                     "source.length": StateSpec((1,), torch.int64, per_token=False)}  # fmt: skip
        return spec

    def forward(self, inputs: Inputs, slots: Slots | None = None, *, select: Tensor | None = None,
                reduce: Reduce | None = None) -> Output:  # fmt: skip
        """As every model's; all logits of a pass are held, since the head is the model's own."""
        logits = self._logits(inputs, slots).float()
        chosen = logits if select is None else logits[select]
        if reduce is None:
            return Output(chosen)
        flat = chosen.reshape(-1, chosen.shape[-1])
        return Output(reduced=reduce(flat, torch.arange(len(flat), device=flat.device)))

    def encode(self, inputs: Inputs, slots: Slots | None = None) -> Tensor:
        assert slots is None, "hidden states are for whole rows"
        base = getattr(self.inner, self.inner.base_model_prefix, self.inner)
        base = base.get_encoder() if self.kind == "encoder-decoder" else base
        return self._run(base, inputs, None)[0]

    def pool(self, inputs: Inputs) -> Tensor:
        """(B, D): of a causal model the last token's hidden state, else the mean."""
        return (last if self.kind == "causal" else mean)(self.encode(inputs), inputs.mask)

    # ------------------------------------------------------------------------------------------------ the two ways

    def _logits(self, inputs: Inputs, slots: Slots | None) -> Tensor:
        for name in ("prefix", "order"):
            if getattr(inputs, name) is not None:
                raise RequestError(text("attention"), None, text("'{name}' is needed and is not supported", name=name))
        if inputs.documents is not None and not self.attends:
            raise RequestError("documents", text("a model with our attention"), str(self.inner.config.model_type),
                               text("give each row one document"))  # fmt: skip
        if self.attends:
            return self._run(self.inner, inputs, slots).logits
        if slots is None:
            return self._read(inputs)
        return self._reread(inputs, slots)

    def _reread(self, inputs: Inputs, slots: Slots) -> Tensor:
        """Reads each row from its beginning, and gives what the new positions have."""
        steps, lengths = inputs.tokens.shape[1], slots.lengths
        slots.write("tokens", inputs.tokens)
        rows = slots.read("tokens")
        source = inputs.source
        if self.kind == "encoder-decoder":
            source = self._remembered(source, slots)
        new = torch.full_like(lengths, steps) if inputs.mask is None else inputs.mask.sum(1)
        mask = torch.arange(rows.shape[1], device=rows.device) < (lengths + new)[:, None]
        logits = self._read(Inputs(rows, mask=mask, source=source))
        at = (lengths[:, None] + torch.arange(steps, device=rows.device)).clamp(max=rows.shape[1] - 1)
        return logits.gather(1, at.unsqueeze(-1).expand(-1, -1, logits.shape[-1]))

    def _remembered(self, source: Inputs | None, slots: Slots) -> Inputs:
        if source is not None:
            held = slots.read("source").shape[1]
            mask = torch.ones_like(source.tokens, dtype=torch.bool) if source.mask is None else source.mask
            slots.write("source", nn.functional.pad(source.tokens, (0, held - source.tokens.shape[1])))
            slots.write("source.length", mask.sum(1, keepdim=True))
            return source
        lengths = slots.read("source.length")
        longest = int(lengths.max())
        return Inputs(slots.read("source")[:, :longest], mask=torch.arange(longest, device=lengths.device) < lengths)

    def _read(self, inputs: Inputs) -> Tensor:
        """(B, T, V) of whole rows by the model's own pass."""
        if "perm_mask" in self.takes:
            return self._read_in_order(inputs)
        if self.kind != "encoder-decoder":
            return self._run(self.inner, inputs, None).logits
        if inputs.source is None:
            raise RequestError("source", text("a text for the encoder"), text("none"))
        mask = inputs.source.mask
        return self.inner(input_ids=inputs.source.tokens, attention_mask=None if mask is None else mask.long(),
                          decoder_input_ids=inputs.tokens, use_cache=False).logits  # fmt: skip

    def _read_in_order(self, inputs: Inputs) -> Tensor:
        """XLNet's: a query behind each position sees the tokens up to it, so that row t is about the token after it."""
        tokens, (rows, steps) = nn.functional.pad(inputs.tokens, (0, 1)), inputs.tokens.shape
        at = torch.arange(steps + 1, device=tokens.device)
        hidden = (at[None, :] >= at[:, None]).float().expand(rows, -1, -1)  # perm_mask: 1 where position i may not see j
        places = nn.functional.one_hot(at[1:], steps + 1).float().expand(rows, -1, -1)
        return self.inner(input_ids=tokens, perm_mask=hidden, target_mapping=places, use_mems=False).logits

    def _run(self, module: Any, inputs: Inputs, slots: Slots | None, seen: dict | None = None) -> Any:
        """One pass of theirs, with ours told to the attention."""
        given: dict[str, Any] = {"input_ids": inputs.tokens}
        if inputs.embeddings is not None:
            given = {"inputs_embeds": inputs.embeddings}
        takes = set(inspect.signature(module.forward).parameters) if module is not self.inner else self.takes
        if inputs.mask is not None and not (self.kind == "causal" and getattr(self, "attends", True)):
            given["attention_mask"] = inputs.mask.long()
        if inputs.types is not None and "token_type_ids" in takes:
            given["token_type_ids"] = inputs.types
        if "position_ids" in takes and self.kind == "causal":
            steps = inputs.tokens.shape[1]
            begun = torch.arange(steps, device=inputs.tokens.device)[None].expand(len(inputs.tokens), -1)
            counted = begun if slots is None else slots.lengths[:, None] + begun
            given["position_ids"] = counted if inputs.positions is None else inputs.positions
        if "use_cache" in takes or "kwargs" in takes:
            given["use_cache"] = False
        _now.inputs, _now.slots, _now.layers, _now.causal = inputs, slots, seen, self.kind == "causal"
        return module(**given)

    # ------------------------------------------------------------------------------------------------ the trial

    @torch.no_grad()
    def _proves(self) -> bool:
        """Whether our attention gives this model's own logits: whole, padded and chunk by chunk."""
        inner = self.inner
        if not getattr(inner, "_supports_attention_backend", False) or getattr(inner, "_is_stateful", False):
            return False
        training = inner.training
        inner.eval()
        tokens = torch.arange(2 * PROBE, device=inner.device).remainder(self.vocabulary - 1).add(1).view(2, PROBE)
        try:
            inner.set_attn_implementation("eager")
            want = inner(input_ids=tokens, use_cache=False).logits.float()
            inner.set_attn_implementation(NAME)
            self.layers = {}
            got = self._run(inner, Inputs(tokens), None, self.layers).logits.float()
            self.attends = True
            pieces, slots = [], DenseSlots(self.state(), 2, PROBE, inner.device)
            for begin, end in ((0, 7), (7, 8), (8, PROBE)):
                pieces.append(self._run(inner, Inputs(tokens[:, begin:end]), slots).logits.float())
                slots.advance(end - begin)
            close = TOLERANCE * float(want.abs().max())
            proved = bool(self.layers) and all(float((one - want).abs().max()) <= close for one in (got, torch.cat(pieces, 1)))
        except Exception:  # whatever a foreign model does with what it does not expect: then its own way
            proved = False
        if not proved:
            inner.set_attn_implementation("eager")
        inner.train(training)
        return proved


class HuggingFaceClassifier(nn.Module):
    """Theirs for sequence classification: texts to the scores of its labels."""

    family, gives = "huggingface", "classify"

    def __init__(self, inner: Any):
        super().__init__()
        self.inner = inner
        self.context = getattr(inner.config, "max_position_embeddings", None)
        self.width = getattr(inner.config, "hidden_size", None)
        self.vocabulary = int(inner.config.vocab_size)

    def forward(self, inputs: Inputs) -> Tensor:
        """(B, labels) float32 scores before the softmax."""
        given = {} if inputs.types is None else {"token_type_ids": inputs.types}
        mask = torch.ones_like(inputs.tokens) if inputs.mask is None else inputs.mask.long()
        return self.inner(input_ids=inputs.tokens, attention_mask=mask, **given).logits.float()


class HuggingFaceFamily(Family):
    """Whatever transformers reads; written by it, as safetensors."""

    def __init__(self, trust_code: bool = False):
        self.trust_code = trust_code

    instead = "yanmo_foreign"

    def headed(self, ending: str, part: Any) -> bool:
        return False  # a head of ours over such a model is none of transformers'

    def write(self, model: Any, folder: Path) -> dict[str, Any]:
        model.inner.save_pretrained(folder)
        return json.loads((folder / "config.json").read_text(encoding="utf-8"))

    def read(self, folder: Path, config: dict[str, Any]) -> HuggingFaceModel | HuggingFaceClassifier:
        """The directory's model in float32. DataError where transformers does not know it, where it brings code of its own
        and that was not asked for, and where its tensors are not those of its config."""
        place = str(folder / "config.json")
        transformers = needed("transformers", "hf", place)
        if config.get("auto_map") and not self.trust_code:
            code = ", ".join(map(str, config["auto_map"]))
            raise DataError(f"{place}: auto_map", text("a model without code of its own"), code,
                            text("read that code, and then open it with yanmo.load(path, trust_code=True)"))  # fmt: skip
        name = str((config.get("architectures") or ["none"])[0])
        cls = transformers.AutoModelForCausalLM if config.get("auto_map") else getattr(transformers, name, None)
        if not isinstance(cls, type) or not (issubclass(cls, transformers.PreTrainedModel) or config.get("auto_map")):
            raise DataError(f"{place}: architectures", text("a model that transformers knows"), name)
        if "For" in name and not name.endswith((*dict(ENDINGS), LABELS)):
            raise DataError(f"{place}: architectures", text("a language model, or one for sequence classification"), name)
        plausible(config, read_tensors(folder), place)
        _register(transformers)
        transformers.logging.disable_progress_bar()
        options = {"trust_remote_code": True} if config.get("auto_map") else {}
        try:
            opener: Any = cls
            inner, report = opener.from_pretrained(folder, dtype=torch.float32, use_safetensors=True, local_files_only=True,
                                                   output_loading_info=True, ignore_mismatched_sizes=True, **options)  # fmt: skip
        except Exception as error:  # whatever foreign code does with a config that it does not expect
            given = f"{type(error).__name__}: {error}"
            raise DataError(str(folder), text("a model that transformers opens"), " ".join(given.split())[:300]) from error
        wrong = [f"{what}: {', '.join(sorted(map(str, report[key]))[:5])}" for key, what in REPORT.items() if report.get(key)]
        if wrong:
            raise DataError(str(folder), text("the tensors that config.json describes"), "; ".join(wrong))
        for key, value in inner.named_parameters():
            finite(value.detach(), key, str(folder))
        if name.endswith(LABELS):
            return HuggingFaceClassifier(inner.eval())
        return HuggingFaceModel(inner.eval(), kind_of(name, inner))


LABELS = "ForSequenceClassification"
REPORT: dict[str, str] = {"missing_keys": "missing", "mismatched_keys": "of another shape", "unexpected_keys": "unexpected"}
ENDINGS: tuple[tuple[str, str], ...] = (("ForMaskedLM", "masked"), ("ForPreTraining", "masked"), ("ForCausalLM", "causal"),
                                        ("LMHeadModel", "causal"), ("ForConditionalGeneration", "encoder-decoder"))  # fmt: skip


def kind_of(name: str, inner: Any) -> str:
    """What a class of transformers is, by its name and its config."""
    if getattr(inner.config, "is_encoder_decoder", False):
        return "encoder-decoder"
    return next((kind for ending, kind in ENDINGS if name.endswith(ending)), "masked")


def _register(transformers: Any) -> None:
    if NAME not in transformers.AttentionInterface._global_mapping:
        transformers.AttentionInterface.register(NAME, attention)
