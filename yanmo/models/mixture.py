"""A network, counted n-grams, and what the text itself said before, as one model, with a gate that has learned whom to trust.

    p(w | h) = g₁(h) · p_network(w | h) + g₂(h) · p_counted(w | h) + g₃(h) · [w = recalled(h)],   g = softmax(gate(features of h))

What other texts said word for word, counts know at once, and they learn on from what this one says (`adaptive.py`); what it said,
it says again (`recall.py`); what it is about, a network learns. A network of a few minutes gains most: the mixture is far better
than any of them (Neubig and Dyer 2016, "Generalizing and hybridizing count-based and neural language models", arXiv:1606.00499,
section 3.1; Merity et al. 2016, "Pointer sentinel mixture models", arXiv:1609.07843; `stages/mixing.py` fits the gate). The gate
is told nothing of the next token:

    how long a context the counts know, and how much they leave to shorter ones there and one token shorter: its share and ln γ;
    the network's entropy, and the log-probability of what it finds likeliest;
    how long a run is recalled, and what the network and the counts think of the token that followed it;
    how often this text has said the last 1, 2, … tokens before, and how many kinds of tokens followed for each time

    model/config.json  model.safetensors (the gate)  network/ (opens by itself)  counted/  tokenizer.json
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
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
from yanmo.models.adaptive import LONGEST, Adaptive, counts
from yanmo.models.base import Inputs, LanguageModel, Output, Slots, StateSpec
from yanmo.models.ensemble import Share
from yanmo.models.ngram import NgramLanguageModel, begins
from yanmo.models.recall import NONE, REACH, RUNS, recalled
from yanmo.models.weights.folder import read_tensors
from yanmo.nn.heads import Reduce

FEATURES, HIDDEN = 5 + len(RUNS) + 3 + 2 * LONGEST, 48
PARTS = ("network", "counted")
UNLIKELY = -20.0  # the least log-probability that the gate is told of


@dataclass(frozen=True)
class Evidence:
    """What the gate sees of positions, (…, FEATURES), and what each part finds of the token there: ln p of the network and of the
    counts (…), what the text itself has said of it (…, LONGEST, 3; see `adaptive.counts`), and whether it is the recalled one
    (…) bool; `recalls` (…) bool: whether there is one."""

    features: Tensor
    network: Tensor
    counted: Tensor
    said: Tensor
    recalled: Tensor
    recalls: Tensor

    def chosen(self, index: Any) -> Evidence:
        return Evidence(*(getattr(self, field.name)[index] for field in fields(self)))


class Gate(nn.Module):
    """(…, FEATURES), (…) bool → (…, 3): the logarithms of the shares of the network, of the counts, and of the recalled token,
    which has none where nothing is recalled. `adaptive` is what makes the counts learn on."""

    def __init__(self) -> None:
        super().__init__()
        self.adaptive = Adaptive()
        self.inner = nn.Linear(FEATURES, HIDDEN)
        self.outer = nn.Linear(HIDDEN, 3)

    def initialise(self, rng: torch.Generator) -> None:
        """All alike, whatever the features."""
        self.adaptive.initialise()
        with torch.no_grad():
            self.inner.weight.normal_(0, FEATURES**-0.5, generator=rng)
            for parameter in (self.inner.bias, self.outer.weight, self.outer.bias):
                parameter.zero_()

    def forward(self, features: Tensor, recalls: Tensor) -> Tensor:
        scores = self.outer(torch.tanh(self.inner(features)))
        out = torch.stack([torch.zeros_like(recalls), torch.zeros_like(recalls), ~recalls], -1)
        return scores.masked_fill(out, -torch.inf).log_softmax(-1)


class Mixture(LanguageModel):
    """`network` and `counted` of one vocabulary. It answers; it is not trained further."""

    kind = "causal"
    trainable = False
    recalls = True
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
        own = {f"{name}.{key}": spec for name in PARTS for key, spec in self._part(name).state().items()}
        return own | {"said": StateSpec((REACH,), torch.int64, per_token=False, fill=NONE)}

    def _part(self, name: str) -> LanguageModel:
        return cast(LanguageModel, getattr(self, name))

    def forward(
        self, inputs: Inputs, slots: Slots | None = None, *, select: Tensor | None = None, reduce: Reduce | None = None
    ) -> Output:
        """Log-probabilities, made chunk by chunk of positions: the logits of a mixture."""
        nodes, past = self._nodes(inputs, slots, select), self._past(inputs, slots)
        runs, following = (part if select is None else part[select.reshape(-1).to(part.device)] for part in past.recalled())
        places = np.arange(inputs.tokens.numel()) if select is None else np.flatnonzero(select.reshape(-1).cpu().numpy())

        def mixed(logits: Tensor, positions: Tensor) -> Tensor:
            network, chosen = logits.float().log_softmax(-1), positions.cpu().numpy()
            known = nodes[chosen]
            counted = self.counted.distributions(known)
            run, token = runs[positions], following[positions].unsqueeze(-1)
            adapted, said = past.spread(self.gate.adaptive, counted, places[chosen])
            about = [part.gather(-1, token).squeeze(-1) for part in (network, torch.from_numpy(counted).to(logits.device))]
            shares = self.gate(self._features(network, known, run, said.to(logits.device), *about), run > 0)
            both = torch.logaddexp(shares[:, :1] + network, shares[:, 1:2] + adapted.to(logits.device))
            both.scatter_(-1, token, torch.logaddexp(both.gather(-1, token), shares[:, 2:]))
            return both if reduce is None else reduce(both, positions)

        own = None if slots is None else Share(slots, "network.")
        with torch.no_grad():
            found = self.network(replace(inputs, before=None), own, select=select, reduce=mixed).reduced
        if reduce is not None:
            return Output(reduced=found)
        return Output(found if select is not None else found.view(*inputs.tokens.shape, self.vocabulary))

    def encode(self, inputs: Inputs, slots: Slots | None = None) -> Tensor:
        """The network's hidden states; with slots, what the counts and the text remember goes on as well."""
        if slots is not None:
            self.counted.contexts(inputs, Share(slots, "counted."))
            self._past(inputs, slots)
        return self.network.encode(inputs, None if slots is None else Share(slots, "network."))

    def pool(self, inputs: Inputs) -> Tensor:
        return self.network.pool(inputs)

    def logprobs(self, inputs: Inputs, targets: Tensor) -> Tensor:
        return mix(self.gate, self.evidence(inputs, targets))

    @torch.no_grad()
    def evidence(self, inputs: Inputs, targets: Tensor) -> Evidence:
        """Of every position (B, T) and its target: the counts' probabilities are looked up, without a distribution."""
        nodes, past = self._nodes(inputs, None, None), self._past(inputs, None)
        runs, following = past.recalled()
        flat, said = targets.reshape(-1, 1), past.counts(targets)
        about = self.counted.logprobs(inputs, following.view(targets.shape)).reshape(-1)

        def pick(logits: Tensor, positions: Tensor) -> tuple[Tensor, Tensor]:
            network = logits.float().log_softmax(-1)
            thought = network.gather(-1, following[positions].unsqueeze(-1)).squeeze(-1)
            known = nodes[positions.cpu().numpy()]
            features = self._features(network, known, runs[positions], said[positions], thought, about[positions])
            return features, network.gather(-1, flat[positions]).squeeze(-1)

        features, network = self.network(replace(inputs, before=None), reduce=pick).reduced
        shape, there = targets.shape, (runs > 0).view(targets.shape)
        return Evidence(features.view(*shape, FEATURES), network.view(shape), self.counted.logprobs(inputs, targets),
                        said.view(*shape, LONGEST, 3), there & (following.view(shape) == targets), there)  # fmt: skip

    def _nodes(self, inputs: Inputs, slots: Slots | None, select: Tensor | None) -> np.ndarray:
        """What the counts know of each (selected) position's context, (N, order - 1)."""
        nodes = self.counted.contexts(inputs, None if slots is None else Share(slots, "counted."))
        flat = nodes.reshape(inputs.tokens.numel(), -1)
        return flat if select is None else flat[select.reshape(-1).cpu().numpy()]

    def _past(self, inputs: Inputs, slots: Slots | None) -> Past:
        """What was said before; the slots remember it."""
        tokens, starts = inputs.tokens.cpu().numpy(), begins(inputs)
        rows, width = tokens.shape
        if slots is not None:
            said = slots.read("said").cpu().numpy()
        else:
            said = np.zeros((rows, 0), np.int64) if inputs.before is None else inputs.before.cpu().numpy()[:, -REACH:]
        whole = np.concatenate([said, tokens], 1)
        if slots is not None:
            lengths = np.full(rows, width) if inputs.mask is None else inputs.mask.sum(1).cpu().numpy()
            kept = lengths[:, None] + np.arange(REACH)  # the last ones behind the row's own tokens
            slots.write("said", torch.from_numpy(np.take_along_axis(whole, kept, 1)).to(inputs.tokens.device))
        return Past(whole, np.concatenate([np.zeros(said.shape, bool), starts], 1), said.shape[1], inputs.tokens.device)

    def _features(self, network: Tensor, nodes: np.ndarray, runs: Tensor, said: Tensor, *about: Tensor) -> Tensor:
        """(n, FEATURES), about 1 in size, from the network's log-probabilities (n, V), the counts' nodes (n, order - 1), the
        numbers of recalled runs (n,), how often and what the text has said (n, LONGEST, 2 or more), and ln p of the token behind
        each run by the network and by the counts (n,)."""
        likeliest = network.amax(-1, keepdim=True)
        entropy = -(network.exp() * network).sum(-1, keepdim=True)
        known = torch.from_numpy(self.counted.trust(nodes)).to(network.device)
        run = F.one_hot(runs, len(RUNS) + 1).float()
        thought = torch.stack(about, -1).clamp(min=UNLIKELY) / 4 + 1
        thought = torch.where(runs[:, None] > 0, thought, 0)
        total, kinds = said[..., 0], said[..., 1]
        own = [total.log1p() / 2, kinds / total.clamp(min=1)]
        return torch.cat([known, entropy / 4 - 1, likeliest / 2 + 1, run, thought, *own], -1)


@dataclass(frozen=True)
class Past:
    """Rows of tokens (B, S), those from `first` on the ones that are read now, and where another document begins (B, S) bool.
    NONE, at a row's beginning, is no token."""

    tokens: np.ndarray
    begins: np.ndarray
    first: int
    device: torch.device

    def recalled(self) -> tuple[Tensor, Tensor]:
        """Of each position (B · T,): the number of the longest run that stood before, and the token behind it."""
        runs, following = recalled(self.tokens, self.begins, self.first)
        return torch.from_numpy(runs.reshape(-1)).to(self.device), torch.from_numpy(following.reshape(-1)).to(self.device)

    def counts(self, targets: Tensor) -> Tensor:
        """(B · T, LONGEST, 3) float32: `adaptive.counts` of the token `targets` (B, T) after each position."""
        found, asked = [], targets.cpu().numpy()
        for row in range(len(asked)):
            tokens, starts, first = self._row(row)
            found.append(counts(tokens, starts, first, asked[row]))
        return torch.from_numpy(np.concatenate(found)).to(self.device)

    def spread(self, adaptive: Adaptive, base: np.ndarray, places: np.ndarray) -> tuple[Tensor, Tensor]:
        """`Adaptive.spread` of ln q₀ `base` (n, V) after positions `places` (n,), of all (B · T) of them."""
        rows, columns = np.divmod(places, self.tokens.shape[1] - self.first)
        adapted, said = np.empty_like(base), np.empty((len(places), LONGEST, 2), np.float32)
        for row in np.unique(rows):
            tokens, starts, first = self._row(int(row))
            here = rows == row
            adapted[here], said[here] = adaptive.spread(base[here], tokens, starts, first + columns[here])
        return torch.from_numpy(adapted), torch.from_numpy(said)

    def _row(self, row: int) -> tuple[np.ndarray, np.ndarray, int]:
        """One row without what is no token, and where in it the positions begin that are read now."""
        start = min(int((self.tokens[row] != NONE).argmax()), self.first)
        return self.tokens[row, start:], self.begins[row, start:], self.first - start


def mix(gate: Gate, found: Evidence) -> Tensor:
    """ln of the mixture's probability (…) of the tokens that the evidence is about."""
    shares = gate(found.features, found.recalls)
    counted = gate.adaptive(found.counted, found.said)
    parts = torch.stack([shares[..., 0] + found.network, shares[..., 1] + counted], -1)
    both = parts.logsumexp(-1)
    return torch.where(found.recalled, torch.logaddexp(both, torch.where(found.recalled, shares[..., 2], 0)), both)


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
