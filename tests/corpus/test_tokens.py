"""Token shards: every byte of every document once, whatever the language; and the order of rows."""

from __future__ import annotations

import numpy as np
import pyarrow.parquet as parquet
import pytest

from tests.corpus.corpora import ODD, texts, write_jsonl
from yanmo.core.config import Place
from yanmo.core.console import Console
from yanmo.core.errors import CorruptError, RequestError
from yanmo.core.execute import execute
from yanmo.core.recipe import parse
from yanmo.core.registry import create
from yanmo.core.run import Run
from yanmo.corpus import documents, tokens
from yanmo.corpus.mixture import Mixing
from yanmo.corpus.tokens import RowOrder, TokenShards, for_run

QUIET = Console(quiet=True)


def corpus(folder, sources):
    """A corpus stage's folder over jsonl `sources`: {name: (texts, weight)}."""
    made = []
    for name, (bodies, weight) in sources.items():
        write_jsonl(folder / f"{name}.jsonl", [{"text": body} for body in bodies])
        made.append({"type": "jsonl", "path": f"{name}.jsonl", "name": name, "weight": weight})
    recipe = parse({"name": "x", "stages": [{"corpus": {"source": made, "engine": {"type": "local", "workers": 1}}}]}, Place())
    execute(recipe, folder / "run", console=QUIET)
    return folder / "run" / "corpus"


@pytest.fixture
def bodies():
    return [*texts(200, seed=41), *ODD, "<|endoftext|> in the text", "x" * 5000]


@pytest.fixture
def tokenizer(bodies):
    return create("tokenizer", {"type": "bpe", "size": 400}).train(iter(bodies))


def test_every_document_is_its_border_and_its_tokens(folder, bodies, tokenizer):
    made = corpus(folder, {"a": (bodies[:100], 1.0), "b": (bodies[100:], 1.0)})
    built = TokenShards.build(made, tokenizer, folder / "tokens", QUIET)
    shards = TokenShards.open(folder / "tokens")
    assert shards.splits == built.splits == ["train", "validation"]
    assert (shards.size, shards.border) == (tokenizer.size, tokenizer.eos_id)
    for name in shards.splits:
        split, rows = shards.split(name), list(documents.iterate(made, name))
        assert isinstance(split.tokens, np.memmap)
        assert split.tokens.dtype == np.dtype("<u2")
        assert split.documents["id"].tolist() == [row["id"] for row in rows]
        assert split.documents["source"].tolist() == [row["source"] for row in rows]
        assert split.documents["bytes"].tolist() == [len(row["text"].encode()) for row in rows]
        first, count = split.documents["first"], split.documents["count"]
        assert first[0] == 0
        assert (first[1:] == first[:-1] + count[:-1]).all()
        assert len(split) == count.sum() == shards.about["splits"][name]["tokens"]
        assert (split.tokens[first] == tokenizer.eos_id).all()
        assert np.count_nonzero(np.asarray(split.tokens) == tokenizer.eos_id) == len(rows), "text that looks like a border is text"
        for at, length, row in zip(first.tolist(), count.tolist(), rows):
            assert tokenizer.decode(split.tokens[at + 1 : at + length].tolist()) == row["text"]
    schema = parquet.read_schema(folder / "tokens" / "train" / "documents.parquet")
    assert schema.names == ["id", "first", "count", "bytes", "source", "language"]


WEIGHTED = {"one": 1, "two": 2, "less": 0.25, "more": 1.5}


@pytest.fixture
def mixed(folder, bodies, tokenizer):
    made = corpus(folder, {name: (bodies[50 * i : 50 * i + 50], weight) for i, (name, weight) in enumerate(WEIGHTED.items())})
    return TokenShards.build(made, tokenizer, folder / "tokens", QUIET)


def seen(split, order, context, epochs=1):
    """How many tokens of each source rows of `context` show in so many epochs."""
    amounts: dict[str, int] = dict.fromkeys(WEIGHTED, 0)
    for epoch in range(epochs):
        for row in order.rows(epoch, np.arange(order.count)).tolist():
            owner = np.searchsorted(split.documents["first"], row * context, side="right") - 1
            amounts[str(split.documents["source"][owner])] += min(context, len(split) - 1 - row * context)
    return amounts


def test_weights_show_rows_more_or_less_often_and_documents_stand_once(mixed):
    split, held_out = mixed.split("train"), mixed.split("validation")
    assert len(set(split.documents["id"].tolist())) == len(split.documents["id"])
    sizes = {name: int(split.documents["count"][split.documents["source"] == name].sum()) for name in WEIGHTED}
    order, context = split.order(8, 3), 8
    amounts = seen(split, order, context, epochs=4)
    for name, weight in WEIGHTED.items():
        assert amounts[name] == pytest.approx(4 * weight * sizes[name], rel=0.02, abs=100), name
    assert split.epoch_tokens() == pytest.approx(sum(weight * sizes[name] for name, weight in WEIGHTED.items()), abs=4)
    assert order.count == pytest.approx(split.epoch_tokens() / context, rel=0.02)
    assert isinstance(held_out.order(8, 3), RowOrder), "held-out text is never weighted"
    assert held_out.weighted() is held_out.tokens


def test_a_counted_model_reads_documents_as_often_as_they_weigh(mixed):
    split = mixed.split("train")
    stream = np.asarray(split.weighted())
    borders = np.flatnonzero(stream == mixed.border)
    counts: dict[str, int] = {}
    for piece in np.split(stream, borders[1:]):
        counts[piece.tobytes()] = counts.get(piece.tobytes(), 0) + 1
    about = split.documents
    for name, (low, high) in {"one": (1, 1), "two": (2, 2), "less": (0, 1), "more": (1, 2)}.items():
        chosen = np.flatnonzero(about["source"] == name).tolist()
        times = [counts.get(np.asarray(split.tokens[about["first"][i] : about["first"][i] + about["count"][i]]).tobytes(), 0) for i in chosen]
        assert {low, high} == set(times), name
        assert np.mean(times) == pytest.approx(WEIGHTED[name], abs=0.25)


def test_a_mixture_takes_the_place_of_the_weights(mixed):
    split = mixed.split("train")
    alike = split.order(8, 3, Mixing(temperature=1000, max_repeats=100))
    amounts = seen(split, alike, 8)
    assert max(amounts.values()) - min(amounts.values()) <= 16
    one = seen(split, split.order(8, 3, Mixing(weights={"one": 3, "two": 1}, max_repeats=100)), 8)
    assert one["less"] == one["more"] == 0
    assert one["one"] == pytest.approx(3 * one["two"], rel=0.02)
    assert split.epoch_tokens(Mixing()) == len(split), "the sizes as they are"
    for wrong, message in (({"three": 1}, "no source 'three'"), ({"one": 0, "two": 1e-300}, None)):
        if message:
            with pytest.raises(RequestError, match=message):
                split.order(8, 3, Mixing(weights=wrong))
        else:
            assert seen(split, split.order(8, 3, Mixing(weights=wrong)), 8)["two"] > 0


def test_packing_counts_what_rows_do_to_documents(mixed):
    split, context = mixed.split("train"), 32
    told = split.packing(context)
    owners = np.repeat(np.arange(len(split.documents["first"])), split.documents["count"])
    begun = np.repeat(split.documents["first"] // context, split.documents["count"])
    behind = np.arange(len(split)) // context > begun
    assert told["tokens"] == len(split)
    assert told["tokens_behind_a_cut"] == int(behind.sum())
    assert told["documents_cut"] == len(set(owners[behind].tolist()))
    assert told["share_behind_a_cut"] == pytest.approx(behind.mean(), abs=1e-6)
    assert told["dropped"] == told["share_dropped"] == 0
    rows = [split.tokens[row * context : row * context + context + 1] for row in range(told["rows"])]
    assert sum(len(row) - 1 for row in rows) == len(split) - 1, "every token but the first is a target once"
    assert told["padding"] == sum(context + 1 - len(row) for row in rows)
    whole = split.packing(10**6)
    assert (whole["rows"], whole["documents_cut"], whole["documents_longer_than_a_row"]) == (1, 0, 0)


def test_a_large_vocabulary_takes_four_bytes(folder, bodies):
    class Wide:
        size, eos_id = 70_000, 1

        def encode_batch(self, texts):
            return [[69_999] * len(text) for text in texts]

    shards = TokenShards.build(corpus(folder, {"a": (bodies, 1.0)}), Wide(), folder / "tokens", QUIET)
    assert shards.split("train").tokens.dtype == np.dtype("<u4")
    assert shards.split("train").tokens.max() == 69_999


def test_batches_do_not_change_the_bytes(folder, bodies, tokenizer, monkeypatch):
    made = corpus(folder, {"a": (bodies, 1.0)})
    TokenShards.build(made, tokenizer, folder / "one", QUIET)
    monkeypatch.setattr(tokens, "BATCH_ROWS", 3)
    TokenShards.build(made, tokenizer, folder / "two", QUIET)
    for name in ("train", "validation"):
        assert (folder / "one" / name / "tokens.bin").read_bytes() == (folder / "two" / name / "tokens.bin").read_bytes()


def test_a_run_makes_them_once_and_again_when_the_corpus_changes(folder, bodies, tokenizer):
    made = corpus(folder, {"a": (bodies, 1.0)})
    tokenizer.save(folder / "run" / "tokenizer")
    run = Run(folder / "run", console=QUIET)
    shards = for_run(run, made, folder / "run" / "tokenizer")
    place = folder / "run" / "tokens" / "corpus-tokenizer"
    assert shards.folder == place
    written = (place / "train" / "tokens.bin").stat().st_mtime_ns
    assert len(for_run(run, made, folder / "run" / "tokenizer").split("train")) == len(shards.split("train"))
    assert (place / "train" / "tokens.bin").stat().st_mtime_ns == written
    create("tokenizer", {"type": "characters"}).train(iter(bodies)).save(folder / "run" / "tokenizer")
    again = for_run(run, made, folder / "run" / "tokenizer")
    assert (place / "train" / "tokens.bin").stat().st_mtime_ns != written
    assert len(again.split("train")) != len(shards.split("train"))


def test_a_split_without_documents_is_empty_and_damage_is_noticed(folder, bodies, tokenizer):
    made = corpus(folder, {"a": (bodies[:1], 1.0)})
    shards = TokenShards.build(made, tokenizer, folder / "tokens", QUIET)
    assert shards.splits == ["train"]
    assert len(shards.split("validation")) == 0
    data = (folder / "tokens" / "train" / "tokens.bin").read_bytes()
    (folder / "tokens" / "train" / "tokens.bin").write_bytes(data[:-2])
    with pytest.raises(CorruptError, match=r"expected \d+ tokens, got \d+"):
        TokenShards.open(folder / "tokens").split("train")


# ---------------------------------------------------------------------------------------------- the order of rows


@pytest.mark.parametrize("count", [1, 2, 3, 4, 5, 15, 16, 17, 1000, 4096, 65_537])
def test_each_epoch_is_a_permutation(count):
    order = RowOrder(count, 7)
    indices = np.arange(count)
    epochs = [order.rows(epoch, indices) for epoch in range(3)]
    for rows in epochs:
        assert np.array_equal(np.sort(rows), indices)
    if count >= 15:
        assert not np.array_equal(epochs[0], epochs[1])
        assert not np.array_equal(epochs[0], RowOrder(count, 8).rows(0, indices))
        assert not np.array_equal(epochs[0], indices)
    assert [order.at(2, index) for index in range(min(count, 20))] == epochs[2][:20].tolist()


def test_the_order_looks_random():
    rows = RowOrder(10_000, 0).rows(0, np.arange(10_000))
    steps = np.diff(rows)
    assert np.unique(steps).size > 6000
    assert abs(float(np.corrcoef(rows, np.arange(10_000))[0, 1])) < 0.03
    halves = rows[:5000] >= 5000
    assert 2400 < int(halves.sum()) < 2600
    firsts = np.array([RowOrder(10, seed).at(epoch, 0) for seed in range(40) for epoch in range(25)])
    assert (np.bincount(firsts, minlength=10) > 60).all()


def test_a_billion_rows_cost_nothing_and_the_border_is_checked():
    order = RowOrder(3_000_000_000, 1)
    assert len({order.at(0, index) for index in range(100)}) == 100
    assert 0 <= order.at(5, 2_999_999_999) < 3_000_000_000
    for index in (-1, 3_000_000_000):
        with pytest.raises(IndexError):
            order.at(0, index)
    assert RowOrder(1000, 3).rows(1, np.arange(8)).tolist() == GOLDEN


GOLDEN = [804, 455, 492, 683, 502, 120, 477, 948]
