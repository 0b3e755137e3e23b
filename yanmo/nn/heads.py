"""From hidden states to logits, without ever holding all of them when only a reduction of them is wanted.

A batch of 16 rows of 256 tokens over a vocabulary of 8,192 has 134 MB of logits, and as much again for their gradient.
`reduced` goes through the positions chunk by chunk. While a gradient is wanted, each chunk's gradient is taken on the
spot, while its logits are still in the cache (the trick of Liger's and Apple's fused losses, Hsu et al. 2024,
arXiv:2410.10989): three matrix products a chunk, as many as an ordinary head needs, where recomputing the logits in the
backward pass would need four. That presumes that the caller will weigh all reduced values alike (a sum or a mean of
per-token losses); where the backward pass brings unequal weights, the chunks are computed again with those, exactly.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from yanmo.nn.product import product

ELEMENTS = 1 << 22  # logits held at a time: 16 MB in float32, near the size of a last-level cache
Reduce = Callable[[Tensor, Tensor], Any]


def language_head(
    hidden: Tensor, weight: Tensor, select: Tensor | None = None, reduce: Reduce | None = None,
    bias: Tensor | None = None, softcap: float | None = None,
) -> tuple[Tensor | None, Any]:  # fmt: skip
    """(logits, reduced) for hidden (B, T, D) and weight (V, D), one of them None.

    Logits are float32: (B, T, V), or (N, V) for the N positions that `select` (B, T) bool picks; `bias` (V,) is added to
    them, and with a `softcap` c they become c · tanh(logits / c)."""
    chosen = hidden if select is None else hidden[select]
    if reduce is None:
        logits = project(chosen, weight, bias)
        return (logits if softcap is None else cap(logits, softcap)), None
    capped = reduce if softcap is None else lambda logits, positions: reduce(cap(logits, softcap), positions)
    return None, reduced(chosen.reshape(-1, chosen.shape[-1]), weight, capped, bias)


def cap(logits: Tensor, bound: float) -> Tensor:
    """Logits softly kept within ±bound (Gemma 2, arXiv:2408.00118, section 2)."""
    return bound * torch.tanh(logits / bound)


def project(hidden: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """hidden · weightᵀ + bias in float32; the product itself in autocast's precision where that is on."""
    return product(hidden, weight, None if bias is None else bias.to(weight.dtype)).float()


def reduced(hidden: Tensor, weight: Tensor, reduce: Reduce, bias: Tensor | None = None) -> Any:
    """`reduce(logits (n, V) float32, positions (n,))` over chunks of hidden (N, D), its tensors concatenated along
    dimension 0. `reduce` gives a tensor, or a tuple, list or dict of tensors, each with a first dimension. Gradients
    flow to `hidden`, `weight` and `bias` alone: a `reduce` that reaches another parameter fails with an assertion."""
    return _run(hidden, weight, reduce, bias)


def apart() -> None:
    """Keeps `reduced` out of what torch.compile traces from now on; for whoever compiles. Not from the start: torch's compiler
    takes a second to import, which every short command would wait for."""
    global _run
    _run = torch.compiler.disable(_in_chunks)


def _in_chunks(hidden: Tensor, weight: Tensor, reduce: Reduce, bias: Tensor | None) -> Any:
    rows = max(1, ELEMENTS // weight.shape[0])
    if torch.is_grad_enabled() and any(x is not None and x.requires_grad for x in (hidden, weight, bias)):
        shape: list[Any] = []
        flat = _Reduced.apply(hidden, weight, bias, reduce, rows, shape)
        return _unflatten(shape[0], iter(flat))
    chunks = []
    for start in range(0, max(hidden.shape[0], 1), rows):
        part = hidden[start : start + rows]
        chunks.append(reduce(project(part, weight, bias), _positions(start, part)))
    shape = _shape(chunks[0])
    columns = zip(*(_flatten(chunk) for chunk in chunks), strict=True)
    return _unflatten(shape, iter([torch.cat(column) for column in columns]))


_run = _in_chunks


class _Reduced(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, hidden: Tensor, weight: Tensor, bias: Tensor | None, reduce: Reduce, rows: int, shape: list[Any]
    ) -> tuple[Tensor, ...]:
        made = _empty(hidden, weight, bias, ctx.needs_input_grad)
        dtype = _dtype(hidden)
        cast = weight.to(dtype)
        chunks: list[list[Tensor]] = []
        ready = False
        for start in range(0, max(hidden.shape[0], 1), rows):
            part = hidden[start : start + rows].to(dtype)
            logits, result = _chunk(part, cast, bias, reduce, start)
            tensors = _flatten(result)
            trained = [index for index, tensor in enumerate(tensors) if tensor.requires_grad]
            if start == 0:
                shape.append(_shape(result))
                ready = len(trained) == 1  # several would need a gradient of each: left to the backward pass
                ctx.trained = trained
                _check_reach(tensors, logits)
            if ready:
                value = tensors[trained[0]]
                _gradients(part, cast, logits, [value], [torch.ones_like(value)], start, made)
            chunks.append([tensor.detach() for tensor in tensors])
        flat = [torch.cat(column) for column in zip(*chunks, strict=True)]
        ctx.reduce, ctx.rows, ctx.ready, ctx.dtype = reduce, rows, ready, dtype
        ctx.sizes = [[tensor.shape[0] for tensor in chunk] for chunk in chunks]
        ctx.save_for_backward(hidden, weight, bias, *(made if ready else []))
        ctx.mark_non_differentiable(*(tensor for index, tensor in enumerate(flat) if index not in ctx.trained))
        return tuple(flat)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        hidden, weight, bias, *made = ctx.saved_tensors
        inputs = (hidden, weight, bias)
        if ctx.ready:
            given = grads[ctx.trained[0]]
            if given.numel() and (not any(given.stride()) or bool((given == given.flatten()[0]).all())):
                factor = given.flatten()[0]
                return *(None if x is None else (x * factor).to(of.dtype) for x, of in zip(made, inputs)), None, None, None
        made = _empty(*inputs, ctx.needs_input_grad)
        cast = weight.to(ctx.dtype)
        begins = [0] * len(grads)
        for index, sizes in enumerate(ctx.sizes):
            start = index * ctx.rows
            part = hidden[start : start + ctx.rows].to(ctx.dtype)
            logits, result = _chunk(part, cast, bias, ctx.reduce, start)
            tensors = _flatten(result)
            upstream = [grads[i][begins[i] : begins[i] + sizes[i]] for i in ctx.trained]
            _gradients(part, cast, logits, [tensors[i] for i in ctx.trained], upstream, start, made)
            begins = [begin + size for begin, size in zip(begins, sizes)]
        return *(None if x is None else x.to(of.dtype) for x, of in zip(made, inputs)), None, None, None


def _dtype(hidden: Tensor) -> torch.dtype:
    device = hidden.device.type
    return torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else hidden.dtype


def _positions(start: int, part: Tensor) -> Tensor:
    return torch.arange(start, start + part.shape[0], device=part.device)


def _empty(hidden: Tensor, weight: Tensor, bias: Tensor | None, wanted: tuple[bool, ...]) -> list[Tensor | None]:
    """Room for the gradients of the three, in float32, None for one that is not wanted (a frozen head's would be its largest);
    those of weight and bias are sums over the chunks."""
    return [torch.empty_like(hidden, dtype=torch.float32) if wanted[0] else None,
            *(None if x is None or not own else torch.zeros_like(x, dtype=torch.float32)
              for x, own in zip((weight, bias), wanted[1:]))]  # fmt: skip


def _chunk(part: Tensor, weight: Tensor, bias: Tensor | None, reduce: Reduce, start: int) -> tuple[Tensor, Any]:
    """One chunk's logits as a leaf of a graph of its own, and what `reduce` makes of them."""
    with torch.no_grad():
        logits = project(part, weight, bias)
    logits.requires_grad_()
    with torch.enable_grad():
        return logits, reduce(logits, _positions(start, part))


def _gradients(part: Tensor, weight: Tensor, logits: Tensor, values: list[Tensor], given: list[Tensor], start: int,
               made: list[Any]) -> None:  # fmt: skip
    hidden_grad, weight_grad, bias_grad = made
    (slope,) = torch.autograd.grad(values, logits, given)
    if bias_grad is not None:
        bias_grad += slope.sum(0)
    slope = slope.to(part.dtype)
    if hidden_grad is not None:
        hidden_grad[start : start + part.shape[0]] = slope @ weight
    if weight_grad is None:
        return
    if slope.dtype == weight_grad.dtype:
        weight_grad.addmm_(slope.T, part)
    else:
        weight_grad += slope.T @ part


def _check_reach(tensors: list[Tensor], logits: Tensor) -> None:
    """Whatever `reduce` differentiates must come from the logits alone; another leaf would silently get no gradient."""
    pending: list[Any] = [tensor.grad_fn for tensor in tensors]
    seen: set[Any] = set()
    while pending:
        node = pending.pop()
        if node is None or node in seen:
            continue
        seen.add(node)
        leaf = getattr(node, "variable", None)
        assert leaf is None or leaf is logits, "reduce must not reach parameters of its own: pass them detached"
        pending += [following for following, _ in node.next_functions]


# ------------------------------------------------------------------------------------------ tensor, tuple, list or dict


def _shape(value: Any) -> Any:
    """The structure of what `reduce` gives, without its tensors."""
    if isinstance(value, Tensor):
        return None
    if isinstance(value, dict):
        return {name: _shape(item) for name, item in value.items()}
    return type(value)(_shape(item) for item in value)


def _flatten(value: Any) -> list[Tensor]:
    if isinstance(value, Tensor):
        return [value]
    return [tensor for item in (value.values() if isinstance(value, dict) else value) for tensor in _flatten(item)]


def _unflatten(shape: Any, tensors: Any) -> Any:
    if shape is None:
        return next(tensors)
    if isinstance(shape, dict):
        return {name: _unflatten(item, tensors) for name, item in shape.items()}
    return type(shape)(_unflatten(item, tensors) for item in shape)
