"""Models that no published family equals, under our own names: config.json holds the settings, tensors are called as
they are here."""

from __future__ import annotations

from typing import Any, ClassVar

from yanmo.core.config import Place, build
from yanmo.core.errors import DataError, RecipeError
from yanmo.models.base import LanguageModel
from yanmo.models.families.family import Family, Names, needs
from yanmo.models.recurrent import Lstm, LstmModel
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


class LstmFamily(NativeFamily):
    """The LSTM, under our own names."""

    causal, labels = "YanmoLstmForCausalLM", "YanmoLstmForSequenceClassification"
    model_type, part, module = "yanmo_lstm", LstmModel, Lstm
