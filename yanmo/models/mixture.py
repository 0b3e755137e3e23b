"""A network and counted n-grams that answer as one model, with a gate between them that has learned whom to trust.

    p(w | h) = g(h) · p_network(w | h) + (1 - g(h)) · p_counted(w | h),      g(h) = σ(gate(features of h))

What was said word for word before, counts know at once; what a text is about, a network learns. A network of a few minutes gains
most: the mixture is far better than either (Neubig and Dyer 2016, "Generalizing and hybridizing count-based and neural language
models", arXiv:1606.00499, section 3.1; `train/mixing.py` fits the gate). The gate is told nothing of the next token:

    how long a context the counts know, and how much they leave to shorter ones there and one token shorter: its share and ln γ;
    the network's entropy, and the log-probability of what it finds likeliest

    model/config.json  model.safetensors (the gate)  network/ (opens by itself)  counted/  tokenizer.json
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from yanmo.core import files
from yanmo.core.errors import DataError, RequestError
from yanmo.core.messages import text
from yanmo.core.registry import lookup
from yanmo.models.base import Inputs, LanguageModel, Output, Slots, StateSpec
from yanmo.models.ensemble import Share
from yanmo.models.ngram import NgramLanguageModel
from yanmo.models.weights.folder import read_tensors
from yanmo.nn.heads import Reduce

FEATURES, HIDDEN = 5, 32
PARTS = ("network", "counted")


class Gate(nn.Module):
    """(…, FEATURES) → (…): the log-odds of the network against the counts."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.Linear(FEATURES, HIDDEN)
        self.outer = nn.Linear(HIDDEN, 1)

    def initialise(self, rng: torch.Generator) -> None:
        """Half and half, whatever the features."""
        with torch.no_grad():
            self.inner.weight.normal_(0, FEATURES**-0.5, generator=rng)
            for parameter in (self.inner.bias, self.outer.weight, self.outer.bias):
                parameter.zero_()

    def forward(self, features: Tensor) -> Tensor:
        return self.outer(torch.tanh(self.inner(features))).squeeze(-1)


class Mixture(LanguageModel):
    """`network` and `counted` of one vocabulary. It answers; it is not trained further."""

    kind = "causal"
    trainable = False
    family = "yanmo_mixture"

    def __init__(self, network: LanguageModel, counted: NgramLanguageModel, gate: Gate | None = None):
        """RequestError for a network that does not read from left to right, or another vocabulary than the counts'."""
        super().__init__()
        if network.kind != "causal":
            raise RequestError(text("mixture"), text("a model that reads from left to right"), network.kind)
        if network.vocabulary != counted.vocabulary:
            raise RequestError(text("mixture"), text("models of one {what}", what="vocabulary"),
                               f"{network.vocabulary}, {counted.vocabulary}")  # fmt: skip
        self.network, self.counted, self.gate = network, counted, gate or Gate()
        self.vocabulary, self.context, self.width = network.vocabulary, network.context, network.width
        self.head = None

    def state(self) -> dict[str, StateSpec]:
        return {f"{name}.{key}": spec for name in PARTS for key, spec in self._part(name).state().items()}

    def _part(self, name: str) -> LanguageModel:
        return cast(LanguageModel, getattr(self, name))

    def forward(
        self, inputs: Inputs, slots: Slots | None = None, *, select: Tensor | None = None, reduce: Reduce | None = None
    ) -> Output:
        """Log-probabilities, made chunk by chunk of positions: the logits of a mixture."""
        nodes = self._nodes(inputs, slots, select)

        def mixed(logits: Tensor, positions: Tensor) -> Tensor:
            network, known = logits.float().log_softmax(-1), nodes[positions.cpu().numpy()]
            counted = torch.from_numpy(self.counted.distributions(known)).to(logits.device)
            both = mix(self.gate(self._features(network, known)).unsqueeze(-1), network, counted)
            return both if reduce is None else reduce(both, positions)

        own = None if slots is None else Share(slots, "network.")
        with torch.no_grad():
            found = self.network(inputs, own, select=select, reduce=mixed).reduced
        if reduce is not None:
            return Output(reduced=found)
        return Output(found if select is not None else found.view(*inputs.tokens.shape, self.vocabulary))

    def encode(self, inputs: Inputs, slots: Slots | None = None) -> Tensor:
        """The network's hidden states; with slots, what the counts remember goes on as well."""
        if slots is not None:
            self.counted.contexts(inputs, Share(slots, "counted."))
        return self.network.encode(inputs, None if slots is None else Share(slots, "network."))

    def pool(self, inputs: Inputs) -> Tensor:
        return self.network.pool(inputs)

    def logprobs(self, inputs: Inputs, targets: Tensor) -> Tensor:
        features, network, counted = self.evidence(inputs, targets)
        return mix(self.gate(features), network, counted)

    @torch.no_grad()
    def evidence(self, inputs: Inputs, targets: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """What the gate sees (B, T, FEATURES), and ln p(target) of the network and of the counts (B, T): the counts' looked up,
        without a distribution."""
        nodes, flat = self._nodes(inputs, None, None), targets.reshape(-1, 1)

        def pick(logits: Tensor, positions: Tensor) -> tuple[Tensor, Tensor]:
            network = logits.float().log_softmax(-1)
            return self._features(network, nodes[positions.cpu().numpy()]), network.gather(-1, flat[positions]).squeeze(-1)

        features, network = self.network(inputs, reduce=pick).reduced
        shape = targets.shape
        return features.view(*shape, FEATURES), network.view(shape), self.counted.logprobs(inputs, targets)

    def _nodes(self, inputs: Inputs, slots: Slots | None, select: Tensor | None) -> np.ndarray:
        """What the counts know of each (selected) position's context, (N, order - 1)."""
        nodes = self.counted.contexts(inputs, None if slots is None else Share(slots, "counted."))
        flat = nodes.reshape(inputs.tokens.numel(), -1)
        return flat if select is None else flat[select.reshape(-1).cpu().numpy()]

    def _features(self, network: Tensor, nodes: np.ndarray) -> Tensor:
        """(n, FEATURES) from the network's log-probabilities (n, V) and the counts' nodes (n, order - 1), about 1 in size."""
        likeliest = network.amax(-1, keepdim=True)
        entropy = -(network.exp() * network).sum(-1, keepdim=True)
        known = torch.from_numpy(self.counted.trust(nodes)).to(network.device)
        return torch.cat([known, entropy / 4 - 1, likeliest / 2 + 1], -1)


def mix(odds: Tensor, network: Tensor, counted: Tensor) -> Tensor:
    """ln of the mixture of two probabilities given as logarithms."""
    return torch.logaddexp(F.logsigmoid(odds) + network, F.logsigmoid(-odds) + counted)


class MixtureFamily:
    """Two model directories in one, and the gate."""

    def write(self, model: Mixture, folder: Path) -> dict[str, Any]:
        from safetensors.torch import save_file

        for name in PARTS:
            part: Any = getattr(model, name)
            (folder / name).mkdir()
            files.write_json(folder / name / "config.json", lookup("family", part.family)().write(part, folder / name))
        save_file({key: value.contiguous() for key, value in model.gate.state_dict().items()}, folder / "model.safetensors")
        return {"architectures": ["YanmoMixtureForCausalLM"], "model_type": model.family, "vocab_size": model.vocabulary}

    def read(self, folder: Path, config: dict[str, Any]) -> Mixture:
        """DataError where a part is missing or is another model."""
        from yanmo.models.store import load

        network, counted = (load(folder / name).model for name in PARTS)
        if not isinstance(counted, NgramLanguageModel):
            raise DataError(str(folder / "counted"), text("an n-gram model"), type(counted).__name__)
        if not isinstance(network, LanguageModel):
            raise DataError(str(folder / "network"), text("a language model"), type(network).__name__)
        mixture, found = Mixture(network, counted), dict(read_tensors(folder))
        wanted = mixture.gate.state_dict()
        if found.keys() != wanted.keys() or any(found[name].shape != wanted[name].shape for name in wanted):
            raise DataError(str(folder / "model.safetensors"), text("the gate of a mixture: {names}", names=", ".join(wanted)),
                            ", ".join(sorted(found)[:8]))  # fmt: skip
        mixture.gate.load_state_dict({name: found[name].float() for name in wanted})
        return mixture
