"""The rehearsal counts what a step really makes: the same bytes as a ledger over the real tensors."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from yanmo.core.data import Row
from yanmo.core.registry import create
from yanmo.objectives.base import Context
from yanmo.text.characters import CharacterTokenizer
from yanmo.train.plan import memory
from yanmo.train.plan.rehearsal import Ledger, first_rows, rehearse, tried

T = 32
SPECIAL = ("<mask>", *(f"<extra_id_{i}>" for i in range(20)))
TOKENIZER = CharacterTokenizer(min_count=1, special=SPECIAL).train(["".join(chr(0x4E00 + i) for i in range(400)) + "abc def"])
V = TOKENIZER.size
TINY = {"depth": 2, "width": 32, "heads": 2}
MODELS = {
    "transformer": ({"type": "transformer", **TINY}, "causal"),
    "llama": ({"type": "transformer", **TINY, "qk_norm": False, "tie": False, "kv_heads": 1}, "causal"),
    "gpt2": ({"type": "transformer", **TINY, "norm": "layer", "mlp": "gelu_tanh", "bias": "all", "position": "learned", "qk_norm": False}, "causal"),
    "gemma2": ({"type": "transformer", **TINY, "norm_at": "sandwich", "mlp": "geglu", "attention": {"softcap": 50.0, "window": 8}}, "causal"),
    "alibi": ({"type": "transformer", **TINY, "position": "alibi"}, "causal"),
    "bert": ({"type": "bert", **TINY}, "masked"),
    "xlnet": ({"type": "transformer", "architecture": "encoder", **TINY, "embedding": {"query": True}}, "permuted"),
    "t5": ({"type": "t5", **TINY}, "span_corruption"),
    "bart": ({"type": "bart", **TINY}, "denoise"),
    "lstm": ({"type": "lstm", "depth": 1, "width": 32}, "causal"),
    "gru": ({"type": "gru", "depth": 2, "width": 32}, "causal"),
}  # fmt: skip


def prepared(name, rows=4, micros=2, border=9):
    settings, kind = MODELS[name]
    part = create("model", settings)
    objective = create("objective", {"type": kind, "context": T}).bind(Context(TOKENIZER))
    rng = np.random.default_rng(0)

    def batch(seed):
        made = []
        for index in range(rows):
            tokens = rng.integers(100, V, objective.stretch(T) + objective.overlap)
            tokens[::border] = 1
            made.append(Row(tokens.tolist(), example=str(index)))
        return objective.collate(made, torch.Generator().manual_seed(seed))

    return lambda: part.build(TOKENIZER, torch.Generator().manual_seed(0), context=T), objective, [batch(i) for i in range(micros)]


@pytest.mark.parametrize("name", MODELS)
def test_the_rehearsed_figures_are_those_of_the_real_step(name):
    build, objective, batches = prepared(name)
    optimizer = create("optimizer", "adamw")
    host = torch.device("cpu")
    found = rehearse(build, optimizer, objective, batches, "fp32", host)
    real = tried(build, optimizer, objective, [first_rows(batch, 2) for batch in batches], "fp32", host)
    again = rehearse(build, optimizer, objective, [first_rows(batch, 2) for batch in batches], "fp32", host)
    assert found.how == "rehearsed"
    assert (found.parameters, found.gradients, found.optimizer) == (real.parameters, real.gradients, real.optimizer)
    assert again.peak == pytest.approx(real.peak, rel=0.02)
    assert found.peak > again.peak, "more rows take more"
    model = build()
    assert real.parameters >= sum(p.numel() * 4 for p in model.parameters())


def test_tables_of_hashed_ngrams_have_gradients_of_the_touched_rows_alone():
    settings = {"type": "transformer", **TINY, "embedding": {"grams": {"rows": 50_000, "orders": [2, 3]}}}
    _, objective, batches = prepared("transformer")
    part, optimizer, host = create("model", settings), create("optimizer", "muon"), torch.device("cpu")

    def build():
        return part.build(TOKENIZER, torch.Generator().manual_seed(0), context=T)

    found = rehearse(build, optimizer, objective, batches, "fp32", host)
    real = tried(build, optimizer, objective, [first_rows(batch, 2) for batch in batches], "fp32", host)
    table, rest = 4 * 32 * 100_001, 4 * sum(p.numel() for p in prepared("transformer")[0]().parameters())
    for figures in (found, real):
        assert figures.parameters == pytest.approx(table + rest, rel=0.01)
        assert figures.optimizer == pytest.approx(2 * table + 2 * rest, rel=0.02)
        assert figures.gradients == rest
        assert figures.peak < 3.5 * table, "no gradient of the size of the table"


@pytest.mark.parametrize("optimizer", ["adamw", "muon"])
def test_what_an_optimizer_remembers_is_counted(optimizer):
    build, objective, batches = prepared("transformer")
    found = rehearse(build, create("optimizer", optimizer), objective, batches, "fp32", torch.device("cpu"))
    model = build()
    chosen = create("optimizer", optimizer).make(model)
    for p in model.parameters():
        p.grad = torch.ones_like(p)
    chosen.step()
    remembered = sum(v.numel() * v.element_size() for s in chosen.state.values() for v in s.values() if isinstance(v, torch.Tensor))
    assert found.optimizer == remembered


def test_averages_and_the_checkpoint_that_is_written_are_counted():
    build, objective, batches = prepared("transformer")
    given = (build, create("optimizer", "adamw"), objective, batches, "fp32")
    plain = memory.needed(*given, torch.device("cpu"))
    more = memory.needed(*given, torch.device("cpu"), averages=2, checkpoints=True)
    assert more.average == 2 * plain.gradients > 0
    assert more.copied == plain.parameters + plain.optimizer + more.average
    assert more.live - plain.live == more.peak - plain.peak == more.stays - plain.stays == more.average + more.copied
    elsewhere = memory.of(rehearse(*given, torch.device("cpu")), torch.device("cuda"), 0, True)
    assert elsewhere.copied == 0, "what is written lies in main memory"


@pytest.mark.parametrize("settings", [{"type": "ema"}, {"type": "last", "count": 3, "every": 1}])
def test_an_average_holds_as_many_copies_as_it_says(settings):
    build, _, _ = prepared("transformer")
    model, part = build(), create("average", settings)
    optimizer = create("optimizer", "adamw").make(model)
    for parameter in model.parameters():
        parameter.grad = torch.ones_like(parameter)
    optimizer.step()
    before = sum(value.numel() for state in optimizer.state.values() for value in state.values())
    live = part.make(1)
    for step in range(5):
        live.follow(optimizer, step + 1)
    after = sum(value.numel() for state in optimizer.state.values() for value in state.values())
    assert after - before == part.copies * sum(p.numel() for p in model.parameters())


def test_a_model_whose_course_depends_on_its_numbers_is_tried():
    part = create("model", {"type": "transformer", **TINY, "mlp": {"type": "experts"}})
    _, objective, batches = prepared("transformer")
    build = lambda: part.build(TOKENIZER, torch.Generator().manual_seed(0), context=T)  # noqa: E731
    found = memory.needed(build, create("optimizer", "adamw"), objective, batches, "fp32", torch.device("cpu"))
    assert found.how == "tried"
    assert found.peak > found.parameters + found.gradients + found.optimizer


def test_a_rehearsal_takes_neither_memory_nor_the_random_numbers():
    part = create("model", {"type": "transformer", "depth": 2, "width": 4096})  # 1.6 GB of weights, 6 GB of training
    _, objective, batches = prepared("transformer")
    state, before = torch.random.get_rng_state(), memory.resident()
    memory.begin_peak()
    found = memory.needed(lambda: part.build(TOKENIZER, torch.Generator(), context=T), create("optimizer", "adamw"), objective, batches,
                          "fp32", torch.device("cpu"))  # fmt: skip
    assert found.peak > 4 * found.parameters > 4e9
    assert memory.peak() - before < 300e6
    assert torch.equal(state, torch.random.get_rng_state())


def test_the_ledger_counts_storages_once_and_until_they_go():
    with Ledger() as ledger:
        a = torch.ones(1000)
        b = a.view(10, 100)
        assert ledger.live == 4000
        c = b + 1
        assert (ledger.live, ledger.peak) == (8000, 8000)
        del a, b
        assert ledger.live == 4000
        ledger.mark()
        c = c * 2
    assert ledger.peak == 8000
    assert c.numel() == 1000


def test_a_container_s_limit_counts(tmp_path, monkeypatch):
    monkeypatch.setattr(memory, "CGROUP", tmp_path)
    free = memory.available(torch.device("cpu"))
    (tmp_path / "memory.max").write_text("1000000\n")
    (tmp_path / "memory.current").write_text("400000\n")
    (tmp_path / "memory.stat").write_text("anon 300000\ninactive_file 50000\n")
    assert memory.available(torch.device("cpu")) == 650_000
    (tmp_path / "memory.max").write_text("max\n")
    assert memory.available(torch.device("cpu")) == pytest.approx(free, rel=0.2)
