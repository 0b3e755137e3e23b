"""The majority class: the label that most training texts have, for every text. The floor of every classifier.

Its probabilities are the labels' shares of the training texts, so that its cross-entropy is their entropy, the least
that one can have without reading.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from yanmo.core.errors import CorruptError, DataError, nearest
from yanmo.core.messages import text
from yanmo.models.base import ModelPart, TextClassifier
from yanmo.models.families.family import needs
from yanmo.models.weights.folder import WEIGHTS, read_tensors

Array = NDArray[Any]


def label_numbers(texts: Sequence[str], labels_of_texts: Sequence[str], labels: list[str]) -> Array:
    """(N,) int64: the number of each text's label. DataError without texts or for a label that is not listed."""
    assert len(texts) == len(labels_of_texts), f"{len(texts)} texts, {len(labels_of_texts)} labels"
    if not len(texts):
        raise DataError(text("the training texts"), text("some labelled texts"), text("none"))
    numbers = {label: number for number, label in enumerate(labels)}
    for label in labels_of_texts:
        if label not in numbers:
            raise DataError(
                text("the training texts"), None, text("unknown label '{label}'", label=label), nearest(label, labels)
            )
    return np.array([numbers[label] for label in labels_of_texts], np.int64)


class MajorityModel(ModelPart):
    """The most frequent label, whatever the text: the floor for labelling texts."""

    tasks: ClassVar[tuple[str, ...]] = ("classify",)

    def fit_texts(self, texts: Sequence[str], labels_of_texts: Sequence[str], labels: list[str]) -> MajorityClassifier:
        """A classifier into `labels`, from texts and the label of each."""
        counts = np.bincount(label_numbers(texts, labels_of_texts, labels), minlength=len(labels))
        return MajorityClassifier(labels, counts)


class MajorityClassifier(TextClassifier):
    """The labels' counts (L,) int64 in the training texts. Of labels equally frequent the first one listed wins."""

    family = "yanmo_majority"

    def __init__(self, labels: list[str], counts: Array):
        self.labels, self.counts = labels, counts

    def probabilities(self, texts: list[str]) -> Array:
        """(N, L) float64: the same row for each text. The winner is the least bit ahead of its equals, since a tie for the
        first place decides nothing."""
        row = self.counts / self.counts.sum()
        if (row == row.max()).sum() > 1:
            row[row.argmax()] = np.nextafter(row.max(), 1)
        return np.tile(row, (len(texts), 1))


class MajorityFamily:
    """Majority classifiers: the labels' counts in model.safetensors."""

    def write(self, model: MajorityClassifier, folder: Path) -> dict[str, Any]:
        from safetensors.numpy import save_file

        save_file({"counts": model.counts}, folder / WEIGHTS)
        return {
            "architectures": ["YanmoMajorityForSequenceClassification"],
            "model_type": model.family,
            "id2label": {str(number): label for number, label in enumerate(model.labels)},
        }

    def read(self, folder: Path, config: dict[str, Any]) -> MajorityClassifier:
        """CorruptError where there are not as many counts as labels."""
        needs(config, str(folder / "config.json"), "id2label")
        labels = [config["id2label"][str(number)] for number in range(len(config["id2label"]))]
        counts = read_tensors(folder).get("counts")
        if counts is None or counts.shape != (len(labels),) or not counts.sum() > 0:
            raise CorruptError(str(folder / WEIGHTS), text("{size} numbers each in {names}", size=len(labels), names="counts"))
        return MajorityClassifier(labels, counts.numpy())
