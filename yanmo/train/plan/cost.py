"""What training costs on machines that are not here: memory, communication and time of a Transformer on many GPUs.

A small model, held against published runs in its test (docs/explanation/scale.md says which): it knows what has to be held,
computed and sent, and takes one number from experience, the share of the peak that matrix products attain in a whole step.

    memory      float32 parameters, gradients and AdamW's two moments, 16 bytes a parameter, in slices on all GPUs (FSDP); the
                layers that are whole for the moment; what the backward pass needs (Korthikanti et al. 2022, arXiv:2205.05198);
                a chunk of logits
    compute     6 FLOPs a parameter and token and 12 · layers · width · context of attention (Chowdhery et al. 2022, PaLM,
                appendix B); 8 and 16 with recomputation
    sent        for every micro-batch all parameters twice (forward, backward) and their gradients once (Rajbhandari et al.
                2020, ZeRO, section 7), by all GPUs of a machine at once
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

from yanmo.core.errors import RequestError, nearest
from yanmo.core.messages import text


@dataclass(frozen=True)
class Gpu:
    """Bytes, FLOP/s of bfloat16 without sparsity, bytes/s to its own memory, to its neighbours and to other machines. `attained`:
    the share of the peak in a whole step, of published runs (docs/explanation/scale.md)."""

    name: str
    memory: float
    peak: float
    own: float
    near: float
    far: float
    attained: float
    machine: int = 8  # GPUs of one machine


GPUS = {
    "a100": Gpu("A100 80 GB", 80e9, 312e12, 2.0e12, 300e9, 25e9, 0.47),
    "h100": Gpu("H100 80 GB", 80e9, 989e12, 3.35e12, 450e9, 50e9, 0.42),
    "h200": Gpu("H200 141 GB", 141e9, 989e12, 4.8e12, 450e9, 50e9, 0.42),
}


@dataclass(frozen=True)
class Shape:
    """A decoder with gated feed-forward layers."""

    name: str
    layers: int
    width: int
    heads: int
    kv_heads: int
    inner: int
    vocabulary: int
    context: int
    tied: bool = False
    gated: bool = True

    @property
    def layer(self) -> int:
        """Parameters of one layer's matrices."""
        attention = self.width * self.width * (2 + 2 * self.kv_heads / self.heads)
        return round(attention + self.width * self.inner * (3 if self.gated else 2))

    @property
    def parameters(self) -> int:
        return self.layers * (self.layer + 2 * self.width) + self.vocabulary * self.width * (1 if self.tied else 2) + self.width

    def flops(self, recompute: bool = False) -> float:
        """To train on one token; `recompute`: with a second forward pass."""
        products = self.layers * self.layer + self.vocabulary * self.width
        return (8 if recompute else 6) * products + (16 if recompute else 12) * self.layers * self.width * self.context


SHAPES = {
    "1B": Shape("1B", 16, 2048, 32, 8, 8192, 128_256, 4096, tied=True),
    "3B": Shape("3B", 28, 3072, 24, 8, 8192, 128_256, 4096, tied=True),
    "7B": Shape("7B", 32, 4096, 32, 32, 11_008, 32_000, 4096),
    "8B": Shape("8B", 32, 4096, 32, 8, 14_336, 128_256, 8192),
    "13B": Shape("13B", 40, 5120, 40, 40, 13_824, 32_000, 4096),
    "34B": Shape("34B", 48, 8192, 64, 8, 22_016, 32_000, 4096),
    "70B": Shape("70B", 80, 8192, 64, 8, 28_672, 32_000, 4096),
}


@dataclass(frozen=True)
class Layout:
    """How it is run: rows of one micro-batch, whether the backward pass computes again, over how many GPUs a row is divided."""

    gpus: int
    rows: int = 1
    recompute: bool = False
    context: int = 1


@dataclass(frozen=True)
class Cost:
    """Of one optimizer step on `batch` tokens; memory in bytes a GPU, sent in bytes a GPU, seconds."""

    shape: Shape
    gpu: Gpu
    layout: Layout
    batch: int
    state: float  # parameters, gradients, moments: this GPU's slices
    whole: float  # layers put together for the moment
    activations: float
    logits: float
    sent: float
    compute: float  # seconds
    sending: float
    update: float

    @property
    def memory(self) -> float:
        return self.state + self.whole + self.activations + self.logits

    @property
    def fits(self) -> bool:
        return self.memory <= 0.9 * self.gpu.memory  # the rest: the runtime's own, and what lies between allocations

    @property
    def step(self) -> float:
        return max(self.compute, self.sending) + self.update

    @property
    def rate(self) -> float:
        """Tokens a second of all GPUs."""
        return self.batch / self.step

    @property
    def utilisation(self) -> float:
        """MFU: recomputation does not count."""
        return self.rate * self.shape.flops() / (self.layout.gpus * self.gpu.peak)

    def seconds(self, tokens: float) -> float:
        return tokens / self.rate


def activations(shape: Shape, tokens: float, recompute: bool) -> float:
    """Bytes that the backward pass needs of a micro-batch: of each layer its input alone with recomputation (and one layer in
    full), else 34 bytes a token and width in 16-bit numbers, as attention keeps no scores (Korthikanti et al. 2022, equation 2
    without its second term); a wider inner layer than 4 · width counts for more."""
    full = tokens * shape.width * (34 + 6 * max(0.0, (1.5 if shape.gated else 1.0) * shape.inner / shape.width - 4))
    return full + 2 * tokens * shape.width * shape.layers if recompute else full * shape.layers


def cost(shape: Shape, gpu: Gpu, layout: Layout, batch: int) -> Cost:
    """One step of `batch` tokens, sharded over all GPUs."""
    count, n = shape.parameters, layout.gpus
    tokens = layout.rows * shape.context / layout.context  # of one GPU's micro-batch
    micros = max(1.0, batch / (tokens * n))
    a_pass = micros * tokens  # of one GPU's step
    compute = a_pass * shape.flops(layout.recompute) / (gpu.peak * gpu.attained)
    ends = shape.vocabulary * shape.width * (1 if shape.tied else 2)
    gathered = (2 * count + 2 * count + 4 * count) * (1 - 1 / n)  # bfloat16 twice, float32 gradients once
    keys = 2 * 2 * 2 * tokens * (layout.context - 1) * shape.width * shape.kv_heads / shape.heads * shape.layers  # and backward
    machines = max(1, n // gpu.machine)
    between = gathered / gpu.machine * (1 - 1 / machines) / gpu.far if machines > 1 else 0.0
    sending = micros * (max(gathered / gpu.near, between) + keys / gpu.near)
    return Cost(
        shape, gpu, layout, round(a_pass * n), 16 * count / n, 2 * (2 + 4) * shape.layer + (2 + 4) * ends,
        activations(shape, tokens, layout.recompute), 2 * (1 << 22) * 4 + 4 * tokens * shape.width,
        micros * (gathered + keys), compute, sending, 28 * count / n / gpu.own,
    )  # fmt: skip


def best(shape: Shape, gpu: Gpu, gpus: int, batch: int) -> Cost | None:
    """The fastest layout that fits, None where none does. `batch`: tokens of a step, or as many as there must be for one row
    each."""
    found = []
    for divided in (1, 2, 4, 8):
        for rows in (1, 2, 4, 8, 16, 32):
            for recompute in (False, True):
                layout = Layout(gpus, rows, recompute, divided)
                if divided > gpus or (rows > 1 and (divided > 1 or rows * shape.context * gpus > batch)):
                    continue
                made = cost(shape, gpu, layout, batch)
                if made.fits:
                    found.append(made)
    return max(found, key=lambda made: (round(made.rate, 3), -made.memory)) if found else None


def plan(size: str, gpu: str = "h100", gpus: list[int] | None = None, tokens: float | None = None,
         batch: int = 4_194_304, context: int | None = None) -> list[dict[str, Any]]:  # fmt: skip
    """A row for each number of GPUs: what `yanmo plan` prints. RequestError for a size or a GPU that is not known."""
    tables: tuple[tuple[str, Any], ...] = ((size, SHAPES), (gpu, GPUS))
    for name, known in tables:
        if name not in known:
            raise RequestError("yanmo plan", None, text("unknown '{name}'", name=name), nearest(name, known))
    if min(gpus or [1]) < 1 or (tokens or 1) <= 0 or batch < 1 or (context or 1) < 1:
        raise RequestError("yanmo plan", text("a number above {limit}", limit=0), text("none"))
    shape = SHAPES[size] if context is None else replace(SHAPES[size], context=context)
    wanted = tokens or 20.0 * shape.parameters  # Hoffmann et al. 2022
    rows = []
    for count in gpus or [8, 16, 32, 64, 128, 256, 512, 1024]:
        made = best(shape, GPUS[gpu], count, batch)
        row: dict[str, Any] = {"model": size, "parameters": shape.parameters, "gpu": gpu, "gpus": count, "tokens": round(wanted),
                               "fits": made is not None}  # fmt: skip
        if made is not None:
            row |= {"memory_bytes": round(made.memory), "state_bytes": round(made.state), "micro_rows": made.layout.rows,
                    "recompute": made.layout.recompute, "context_ranks": made.layout.context, "batch_tokens": made.batch,
                    "sent_bytes": round(made.sent), "compute_seconds": round(made.compute, 4),
                    "sending_seconds": round(made.sending, 4), "step_seconds": round(made.step, 4),
                    "tokens_per_second": round(made.rate), "mfu": round(made.utilisation, 4),
                    "seconds": round(made.seconds(wanted)), "gpu_hours": round(made.seconds(wanted) * count / 3600)}  # fmt: skip
        rows.append(row)
    return rows


def table(rows: list[dict[str, Any]]) -> list[str]:
    """Markdown, a line a row."""
    lines = ["| model | GPUs | memory a GPU | micro-batch | sent a step | compute, sending | tokens/s | MFU | time | GPU hours |",
             "|---|---|---|---|---|---|---|---|---|---|"]  # fmt: skip
    for row in rows:
        if not row["fits"]:
            lines.append(f"| {row['model']} | {row['gpus']} | does not fit | | | | | | | |")
            continue
        rows_of = f"{row['micro_rows']} row{'s' if row['micro_rows'] > 1 else ''}"
        micro = rows_of if row["context_ranks"] == 1 else f"1/{row['context_ranks']} row"
        micro += ", recomputed" if row["recompute"] else ""
        lines.append(
            f"| {row['model']} | {row['gpus']} | {row['memory_bytes'] / 1e9:.0f} GB | {micro} "
            f"| {row['sent_bytes'] / 1e9:,.0f} GB | {row['compute_seconds']:.2g} s, {row['sending_seconds']:.2g} s "
            f"| {row['tokens_per_second']:,} | {row['mfu']:.0%} | {duration(row['seconds'])} | {row['gpu_hours']:,} |"
        )  # fmt: skip
    return lines


def duration(seconds: float) -> str:
    if seconds < 7200:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.0f} h" if seconds < 172_800 else f"{seconds / 86_400:.0f} days"


def sensible(value: float) -> str:
    """1.4e12 → '1.4T': tokens for people."""
    power = min(4, int(math.log10(max(value, 1)) // 3))
    return f"{value / 10 ** (3 * power):.3g}{['', 'k', 'M', 'B', 'T'][power]}"
