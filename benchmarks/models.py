"""How fast each family runs and learns: our Transformer against `transformers`, the same weights in both.

    python -m benchmarks.models [--json] [--repeats 7] [--threads 2] [--only llama bert] [--cases step] [--modes eager]

A model of theirs with random weights (25 to 60 million) is saved and opened by us; both must give the same logits, and the
largest difference is part of the answer. Cases, each (rows × tokens), of an encoder-decoder as many for either side:

    forward 1 x 16, 8 x 256    every position's logits
    decode 1 x 1               one token behind 64 that a cache remembers
    step 4 x 256               forward, loss, backward; no dropout, the gradients in the parameters' own layout

They take turns, and the ratio is taken within a turn, so that a machine that slows down for a while slows both. Eager, ours are
"plain"; "opened", weights laid out as `yanmo.load` lays them out; "packed", as the server does. Theirs have a dynamic cache, and
with experts each of their three implementations. The best of ours stands against the best of theirs. Compiled, both have two
layers, since a peer's compilation grows with the layers: ours are its blocks, or not compiled where that is faster, theirs the
whole model with a static cache; a step of decoding is not compiled here. The limit is the linear layers' products alone, in the
same shapes. `--processor` takes processor time and minima in place of the clock and medians: for a machine with other work.
"""

from __future__ import annotations

import argparse
import copy
import itertools
import json
import os
import re
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from statistics import median
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from yanmo.inference.layout import for_decoding
from yanmo.models.base import Inputs
from yanmo.models.store import load
from yanmo.nn.product import product
from yanmo.nn.state import DenseSlots
from yanmo.objectives.base import Batch
from yanmo.objectives.surprise import surprise
from yanmo.train.step import compile_regions

VOCABULARY, CONTEXT, REMEMBERED = 16384, 512, 64
CASES = {"forward 1 x 16": (1, 16), "forward 8 x 256": (8, 256), "decode 1 x 1": (1, 1), "step 4 x 256": (4, 256)}
PLAIN = {"vocab_size": VOCABULARY, "hidden_size": 512, "num_hidden_layers": 8, "num_attention_heads": 8,
         "intermediate_size": 1408, "max_position_embeddings": CONTEXT,
         "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}  # fmt: skip
GROUPED = {**PLAIN, "num_key_value_heads": 4, "head_dim": 64}
FAMILIES: dict[str, tuple[str, str, dict[str, Any]]] = {
    "gpt2": ("GPT2LMHeadModel", "GPT2Config",
             {"vocab_size": VOCABULARY, "n_embd": 512, "n_layer": 8, "n_head": 8, "n_positions": CONTEXT, "resid_pdrop": 0.0,
              "embd_pdrop": 0.0, "attn_pdrop": 0.0}),
    "llama": ("LlamaForCausalLM", "LlamaConfig", PLAIN),
    "qwen3": ("Qwen3ForCausalLM", "Qwen3Config", GROUPED),
    "gemma3": ("Gemma3ForCausalLM", "Gemma3TextConfig", {**GROUPED, "sliding_window": 128, "query_pre_attn_scalar": 64}),
    "gpt_neox": ("GPTNeoXForCausalLM", "GPTNeoXConfig", {**PLAIN, "intermediate_size": 2048, "rotary_pct": 0.25}),
    "mixtral": ("MixtralForCausalLM", "MixtralConfig",
                {**GROUPED, "intermediate_size": 512, "num_local_experts": 8, "num_experts_per_tok": 2}),
    "bert": ("BertForMaskedLM", "BertConfig",
             {**PLAIN, "intermediate_size": 2048, "hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}),
    "t5": ("T5ForConditionalGeneration", "T5Config",
           {"vocab_size": VOCABULARY, "d_model": 512, "d_kv": 64, "d_ff": 1024, "num_layers": 5, "num_heads": 8,
            "dropout_rate": 0.0, "feed_forward_proj": "gated-gelu", "tie_word_embeddings": False, "scale_decoder_outputs": False,
            "decoder_start_token_id": 0}),
    "bart": ("BartForConditionalGeneration", "BartConfig",
             {"vocab_size": VOCABULARY, "d_model": 512, "encoder_layers": 5, "decoder_layers": 5, "encoder_attention_heads": 8,
              "decoder_attention_heads": 8, "encoder_ffn_dim": 2048, "decoder_ffn_dim": 2048, "max_position_embeddings": CONTEXT,
              "dropout": 0.0}),
}  # fmt: skip
EXPERTS = ("eager", "batched_mm", "grouped_mm")
DEPTH = re.compile("num_hidden_layers|n_layer|num_layers|encoder_layers|decoder_layers")
COMPILED = ("gpt2", "llama", "bert", "t5")  # where nobody says: compilations take minutes
Run = Callable[[], Any]


class Rows:
    """What one case is computed on."""

    def __init__(self, case: str, kind: str):
        rows, steps = CASES[case]
        draw = torch.Generator().manual_seed(len(case))
        self.case, self.kind = case, kind
        self.tokens, self.before, self.source = (
            torch.randint(3, VOCABULARY, (rows, count), generator=draw) for count in (steps + 1, REMEMBERED, max(steps, 16))
        )
        self.inputs, self.targets = self.tokens[:, :-1].contiguous(), self.tokens[:, 1:].contiguous()

    @property
    def of_decoder(self) -> bool:
        return self.kind != "encoder-decoder"


def ours(model: Any, rows: Rows) -> Run:
    source = None if rows.of_decoder else Inputs(rows.source)
    if rows.case.startswith("step"):
        batch = Batch(Inputs(rows.inputs, source=source), rows.targets, torch.ones(rows.targets.shape))

        def step() -> Tensor:
            loss = surprise(model, batch)
            mean = loss.total / loss.weight
            mean.backward()
            return mean.detach()

        return step
    if rows.case.startswith("decode"):
        slots = DenseSlots(model.state(), 1, REMEMBERED + 2)
        with torch.inference_mode():
            model(Inputs(rows.before, source=source), slots)
        slots.advance(REMEMBERED)
        return torch.inference_mode()(lambda: model(Inputs(rows.inputs), slots).logits)
    return torch.inference_mode()(lambda: model(Inputs(rows.inputs, source=source)).logits)


def theirs(model: Any, running: Any, rows: Rows, static: bool) -> Run:
    """`running` is `model`, or what torch.compile made of it."""
    given = {"input_ids": rows.inputs} if rows.of_decoder else {"input_ids": rows.source, "decoder_input_ids": rows.inputs}
    if rows.case.startswith("step"):
        def step() -> Tensor:
            logits = running(**given, use_cache=False).logits if rows.kind != "masked" else running(**given).logits
            loss = F.cross_entropy(logits.flatten(0, 1), rows.targets.flatten())
            loss.backward()
            return loss.detach()

        return step
    if rows.case.startswith("decode"):
        return _remembering(model, running, rows, static)
    extra = {} if rows.kind == "masked" else {"use_cache": False}
    return torch.inference_mode()(lambda: running(**given, **extra).logits)


def _remembering(model: Any, running: Any, rows: Rows, static: bool) -> Run:
    from transformers.cache_utils import DynamicCache, EncoderDecoderCache, StaticCache

    given: dict[str, Any] = {}
    with torch.inference_mode():
        if rows.of_decoder:
            room = {"max_cache_len": REMEMBERED + 2} if static else {}
            cache = (StaticCache if static else DynamicCache)(config=model.config, **room)
            model(rows.before, past_key_values=cache)
        else:
            cache = EncoderDecoderCache(DynamicCache(config=model.config), DynamicCache(config=model.config))
            given["encoder_outputs"] = model.get_encoder()(rows.source)
            model(decoder_input_ids=rows.before, past_key_values=cache, **given)
    layers = [layer for layer in getattr(cache, "layers", ()) if static]
    name = "input_ids" if rows.of_decoder else "decoder_input_ids"

    @torch.inference_mode()
    def decode() -> Tensor:
        return running(**{name: rows.inputs}, past_key_values=cache, **given).logits

    @torch.inference_mode()
    def forget() -> None:
        for layer in layers:
            layer.cumulative_length.fill_(REMEMBERED)
            if hasattr(layer, "cumulative_length_int"):
                layer.cumulative_length_int = REMEMBERED
        if not static:
            cache.crop(-1)

    decode.after = forget  # type: ignore[attr-defined]
    return decode


def matrices(model: Any, rows: Rows) -> Run:
    """The products of the linear layers alone, as the model lays them out: one of each weight, in a step three."""
    count = rows.inputs.numel()
    layers: list[tuple[Callable[[Tensor], Tensor], Tensor, int]] = []
    for name, module in model.named_modules():
        read = name.startswith("encoder") or name.endswith("cross.kv")
        if not isinstance(module, nn.Linear) or (read and rows.case.startswith("decode")):  # which remembers what was read
            continue
        seen = rows.source.numel() if read else count
        expert = re.search(r"mlp\.experts\.(\d+)", name)
        if expert is not None:
            part = model.part.mlp
            if int(expert[1]) >= seen * part.active:
                continue
            seen = max(1, seen * part.active // part.experts)
        layers.append((module, module.weight, seen))
    if model.head is None:
        layers.append((lambda x: product(x, model.embedding.weight), model.embedding.weight, count))
    data = {(size, seen): torch.randn(seen, size) for _, weight, seen in layers for size in weight.shape}
    step = rows.case.startswith("step")

    @torch.inference_mode()
    def multiply() -> None:
        for layer, weight, seen in layers:
            layer(data[weight.shape[1], seen])
            if step:
                slope = data[weight.shape[0], seen]
                slope @ weight
                slope.T @ data[weight.shape[1], seen]

    return multiply


def contestants(family: str, folder: Path, rows: Rows, compiled: bool) -> Iterator[tuple[str, str, Any, Run]]:
    """(side, mode, model, what runs the case)."""
    import transformers

    name, config, settings = FAMILIES[family]
    settings = {key: 2 if compiled and DEPTH.fullmatch(key) else value for key, value in settings.items()}
    if not (folder / "config.json").exists():
        torch.manual_seed(0)
        made = getattr(transformers, name)(getattr(transformers, config)(**settings))
        with torch.no_grad():
            for parameter in made.parameters():
                parameter += 0.01 * torch.randn(parameter.shape)
        made.save_pretrained(folder)
    step, decode = rows.case.startswith("step"), rows.case.startswith("decode")

    def opened() -> Any:
        model = load(folder).model
        return model.train() if step else model

    peer = getattr(transformers, name).from_pretrained(folder, dtype=torch.float32)
    peer = peer.train() if step else peer.eval()
    model = opened()
    if compiled and not decode:
        compile_regions(model)
        yield "yanmo", "compiled", model, ours(model, rows)
    if compiled:
        yield "transformers", "compiled", peer, theirs(peer, torch.compile(peer, dynamic=False), rows, static=True)
    else:
        yield "yanmo", "plain", model, ours(model, rows)
    if not step:
        laid = opened()
        for_decoding(laid)
        yield "yanmo", "opened", laid, ours(laid, rows)
    if not step and not decode:
        packed = opened()
        for_decoding(packed, 8)
        yield "yanmo", "packed", packed, ours(packed, rows)
    for kind in () if compiled else EXPERTS if family == "mixtral" else ("",):
        other = copy.deepcopy(peer) if kind else peer
        if kind:
            other.set_experts_implementation(kind)
        yield "transformers", kind, other, theirs(other, other, rows, static=False)


def measure(family: str, case: str, compiled: bool, repeats: int, processor: bool, folder: Path) -> Iterator[dict[str, Any]]:
    kind = {"bert": "masked", "t5": "encoder-decoder", "bart": "encoder-decoder"}.get(family, "causal")
    rows, clock = Rows(case, kind), time.process_time if processor else time.perf_counter
    torch._dynamo.reset()
    entered = list(contestants(family, folder, rows, compiled))
    last = [model for side, _, model, _ in entered if side == "yanmo"][-1]
    runs: dict[tuple[str, str], Run] = {(side, mode): run for side, mode, _, run in entered}
    runs["matrices", ""] = matrices(last, rows)
    models = {(side, mode): model for side, mode, model, _ in entered}
    answers: dict[tuple[str, str], Tensor] = {}
    times: dict[tuple[str, str], list[float]] = {name: [] for name in runs}
    size = sum(parameter.numel() for parameter in last.parameters())
    inner = 1  # calls in a turn
    for turn in range(-2, repeats):
        for name, run in runs.items():
            spent = 0.0
            for _ in range(inner if turn >= 0 else 1):
                started = clock()
                answer = run()
                spent += clock() - started
                if hasattr(run, "after"):
                    run.after()
                if name in models and rows.case.startswith("step"):
                    models[name].zero_grad(set_to_none=True)
            if turn >= 0:
                times[name].append(spent / inner)
            elif name[0] != "matrices":
                answers[name] = answer.clone()
            if turn == -1:
                inner = max(1, min(20, int(0.04 / max(spent, 1e-4))))
    whole = min if processor else median
    want = next(answers[name] for name in answers if name[0] == "transformers")
    # Of the largest number: a fresh T5 scores up to 290, where rounding alone is 3e-4; others, up to 3.
    worst = {name: float((answer - want).abs().max() / want.abs().max()) for name, answer in answers.items()}
    assert max(worst.values()) < 1e-4, f"not the same work: {family}, {case}, {worst}"

    def line(kind: str, label: str, name: tuple[str, str], other: tuple[str, str]) -> dict[str, Any]:
        ratios = [b / a for a, b in zip(times[name], times[other], strict=True)]
        ratio = whole(times[other]) / whole(times[name]) if processor else median(ratios)
        return {
            "benchmark": "models", "case": f"{family}{', 2 layers' if compiled else ''}, {case}, {label}", "kind": kind,
            "ours": round(1000 * whole(times[name]), 3), "peer": " ".join(other).strip(),
            "peer_value": round(1000 * whole(times[other]), 3), "ratio": round(ratio, 3), "unit": "ms",
            "difference": worst[name], "parameters": size,
        }  # fmt: skip

    mine, peer = (min((name for name in answers if name[0] == side), key=lambda name: whole(times[name]))
                  for side in ("yanmo", "transformers"))  # fmt: skip
    for name in answers:
        if name[0] == "yanmo":
            yield line("peer" if name == mine else "info", name[1], name, peer)
    yield line("limit", f"{mine[1]}, share of the products", mine, ("matrices", ""))


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.models", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--json", action="store_true", help="one JSON object a line")
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--only", nargs="*", choices=FAMILIES, help=f"all, and compiled {', '.join(COMPILED)}")
    parser.add_argument("--cases", nargs="*", default=list(CASES), help="words that a case begins with")
    parser.add_argument("--modes", nargs="*", choices=("eager", "compiled"), default=["eager", "compiled"])
    parser.add_argument("--processor", action="store_true", help="processor time and minima, for a busy machine")
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    for mode, family in itertools.product(given.modes, FAMILIES):
        if family not in (given.only or (COMPILED if mode == "compiled" else FAMILIES)):
            continue
        with tempfile.TemporaryDirectory() as temporary:
            for case in CASES:
                if not case.startswith(tuple(given.cases)) or (family == "bert" and case.startswith("decode")):
                    continue
                if mode == "compiled" and case.startswith("decode") and family in ("t5", "bart"):
                    continue  # transformers compiles with a static cache, which it has for decoders
                for entry in measure(family, case, mode == "compiled", given.repeats, given.processor, Path(temporary) / family):
                    if given.json:
                        print(json.dumps(entry), flush=True)
                    else:
                        print(f"{entry['case']:<58} {entry['ours']:>9.3f} ms  {entry['ratio']:>6.3f} of {entry['peer']} "
                              f"({entry['peer_value']:.3f})  ±{entry['difference']:.0e}", flush=True)  # fmt: skip


if __name__ == "__main__":
    main()
