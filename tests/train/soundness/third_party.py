"""Parts of other people, with the mistakes that such parts have: for the doctor to find. Named `tests.train.soundness.third_party:Class`."""

from __future__ import annotations

from dataclasses import replace

from yanmo.core.data import Row
from yanmo.models.base import Inputs
from yanmo.models.transformer import Transformer, TransformerModel
from yanmo.objectives.causal import Causal
from yanmo.tasks.classify import Classify


class NeverEnds(Causal):
    """Takes the end of a text for padding, as where both have one id."""

    def collate(self, rows, rng):
        batch = super().collate(rows, rng)
        return replace(batch, weights=batch.weights * (batch.targets != self._border))


class Nothing(Causal):
    """Masks all of most rows, as where a prompt fills the row and the answer is cut off."""

    def collate(self, rows, rng):
        batch = super().collate(rows, rng)
        batch.weights[1:] = 0
        return batch


class LeakyModel(TransformerModel):
    """A Transformer that does not keep the documents of a row apart."""

    def build(self, tokenizer, rng, context=None):
        model = Leaky(self.complete(context=context), tokenizer.size)
        model.initialise(rng)
        return model


class Leaky(Transformer):
    def encode(self, inputs: Inputs, slots=None):
        return super().encode(replace(inputs, documents=None), slots)


class BrokenModel(TransformerModel):
    """A Transformer with a number that is none, as of a damaged file."""

    def build(self, tokenizer, rng, context=None):
        model = super().build(tokenizer, rng, context)
        model.embedding.weight.data[5:9] = float("nan")
        return model


class Doubled(Classify):
    """Reads each text behind two borders in training: other than it is read when the model is used."""

    def encode(self, example, tokenizer, length):
        row = super().encode(example, tokenizer, length)[0]
        return [Row([tokenizer.bos_id, *row.tokens][:length], label=row.label, example=row.example)]
