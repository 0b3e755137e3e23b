"""Models that no published family equals, under our own names: config.json holds the settings, tensors are called as
they are here."""

from __future__ import annotations

from typing import Any, ClassVar

from yanmo.core.config import Place, build
from yanmo.core.errors import DataError, RecipeError
from yanmo.models.base import LanguageModel
from yanmo.models.convolution import Cnn, CnnModel
from yanmo.models.families.family import Family, Names, needs
from yanmo.models.recurrent import Gru, GruModel, Lstm, LstmModel, Rnn, RnnModel
from yanmo.models.transformer import Transformer, TransformerModel


class NativeFamily(Family):
    model_type: ClassVar[str]
    part: ClassVar[type]
    module: ClassVar[Any]

    def config(self, model: Any) -> dict[str, Any]:
        settings = model.part.model_dump(mode="json", exclude={"type"})
        return {"model_type": self.model_type, "vocab_size": model.vocabulary, "settings": settings, "dtype": "float32"}

    def build(self, config: dict[str, Any], place: str, head: bool) -> LanguageModel:
        needs(config, place, "vocab_size", "settings")
        try:
            part = build(self.part, config["settings"], Place("settings", place))
        except RecipeError as error:
            raise DataError(error.where, error.expected, error.given, error.remedy) from None
        if not head:
            part = part.model_copy(update={"tie": True})
        return self.module(part, config["vocab_size"])

    def names(self, model: Any) -> Names:
        return {name: (name,) for name, _ in model.named_parameters()}


class TransformerFamily(NativeFamily):
    """A Transformer with squared ReLU."""

    causal, labels = "YanmoTransformerForCausalLM", "YanmoTransformerForSequenceClassification"
    model_type, part, module = "yanmo_transformer", TransformerModel, Transformer

    def build(self, config: dict[str, Any], place: str, head: bool) -> LanguageModel:
        if not head:  # a classifier keeps of the head what it reads
            reads = (config.get("architectures") or [self.labels])[0] == self.labels
            pooler = reads and (config.get("settings") or {}).get("head", {}).get("pooler", False)
            config = {**config, "settings": {**(config.get("settings") or {}), "head": {"pooler": pooler}}}
        return super().build(config, place, head)


class RecurrentFamily(NativeFamily):
    """Recurrent networks; their settings stand in config.json as they always did."""

    def config(self, model: Any) -> dict[str, Any]:
        config = super().config(model)
        if not model.part.bidirectional:
            del config["settings"]["bidirectional"]  # a setting only of those that only label
        return config


class RnnFamily(RecurrentFamily):
    """The tanh network, under our own names."""

    causal, labels = "YanmoRnnForCausalLM", "YanmoRnnForSequenceClassification"
    model_type, part, module = "yanmo_rnn", RnnModel, Rnn


class GruFamily(RecurrentFamily):
    """The GRU, under our own names."""

    causal, labels = "YanmoGruForCausalLM", "YanmoGruForSequenceClassification"
    model_type, part, module = "yanmo_gru", GruModel, Gru


class LstmFamily(RecurrentFamily):
    """The LSTM, under our own names."""

    causal, labels = "YanmoLstmForCausalLM", "YanmoLstmForSequenceClassification"
    model_type, part, module = "yanmo_lstm", LstmModel, Lstm


class CnnFamily(NativeFamily):
    """Convolutions over words, which only label texts."""

    causal, labels = "YanmoCnnModel", "YanmoCnnForSequenceClassification"
    model_type, part, module = "yanmo_cnn", CnnModel, Cnn

    def build(self, config: dict[str, Any], place: str, head: bool) -> LanguageModel:
        return super().build(config, place, head=True)  # there is no language head, so none to leave out
