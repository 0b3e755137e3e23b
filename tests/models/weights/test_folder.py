"""A directory's tensors: whole or in shards, lazily, strictly; pickles and what an index should not say."""

from __future__ import annotations

import json
import math
import pickle

import pytest
import torch
from safetensors.torch import load_file, save_file

from yanmo.core.errors import CorruptError, DataError, RequestError
from yanmo.models.weights.folder import INDEX, WEIGHTS, read_tensors
from yanmo.models.weights.tensors import Cast, Held
from yanmo.models.weights.writing import write_tensors


@pytest.fixture
def tensors():
    rng = torch.Generator().manual_seed(0)
    return {
        "model.embed.weight": torch.randn(7, 8, generator=rng),
        "model.研墨.weight": torch.randn(3, 8, generator=rng).to(torch.bfloat16),
        "counts": torch.arange(5).to(torch.uint16),
        "flags": torch.tensor([True, False, True]),
        "half": torch.randn(2, 2, generator=rng).half(),
        "ids": torch.arange(4),
        "empty": torch.zeros(0, 3),
    }


def same(a, b):
    return set(a) == set(b) and all(a[name].dtype == b[name].dtype and a[name].shape == b[name].shape and bool((a[name] == b[name]).all()) for name in a)


def test_one_file_is_byte_for_byte_what_safetensors_writes(tmp_path, tensors):
    write_tensors(tmp_path, tensors)
    save_file(tensors, tmp_path / "theirs.safetensors", metadata={"format": "pt"})
    assert (tmp_path / WEIGHTS).read_bytes() == (tmp_path / "theirs.safetensors").read_bytes()
    assert same(read_tensors(tmp_path), tensors)


@pytest.mark.parametrize("limit", [1, 100, 230, 300])
def test_shards_hold_every_tensor_once(tmp_path, tensors, limit):
    write_tensors(tmp_path, tensors, limit)
    index = json.loads((tmp_path / INDEX).read_text(encoding="utf-8"))
    files = sorted(set(index["weight_map"].values()))
    assert len(files) > 1
    assert not (tmp_path / WEIGHTS).exists()
    assert index["metadata"]["total_size"] == sum(t.nbytes for t in tensors.values())
    for file in files:
        held = load_file(tmp_path / file)
        assert sum(t.nbytes for t in held.values()) <= limit or len(held) == 1
    read = read_tensors(tmp_path)
    assert same(read, tensors)
    assert {name: (read.shape(name), read.dtype(name)) for name in read} == {name: (tuple(t.shape), t.dtype) for name, t in tensors.items()}


def test_shards_are_what_transformers_calls_them(tmp_path, tensors):
    write_tensors(tmp_path, tensors, 230)
    assert sorted(p.name for p in tmp_path.iterdir()) == [f"model-0000{i}-of-00002.safetensors" for i in (1, 2)] + [INDEX]


def test_a_limit_below_one_byte_is_refused(tmp_path, tensors):
    with pytest.raises(RequestError, match="max_shard_bytes"):
        write_tensors(tmp_path, tensors, 0)


def test_floating_tensors_are_cast_and_others_are_not(tmp_path, tensors):
    write_tensors(tmp_path, Cast(Held(tensors), torch.float16))
    read = read_tensors(tmp_path)
    assert read.dtype("model.研墨.weight") == torch.float16
    assert read.dtype("counts") == torch.uint16
    assert torch.equal(read["model.embed.weight"], tensors["model.embed.weight"].half())


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16, torch.float64])
@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_a_value_that_is_not_finite_is_named(tmp_path, dtype, value):
    weight = torch.ones(4, 5, dtype=dtype)
    weight[2, 3] = value
    write_tensors(tmp_path, {"model.layers.0.w": weight, "sound": torch.full((3,), torch.finfo(dtype).max, dtype=dtype)})
    read = read_tensors(tmp_path)
    assert bool((read["sound"] > 0).all())
    with pytest.raises(CorruptError, match=r"expected finite weights, got 1 values of model\.layers\.0\.w are NaN or infinite"):
        read["model.layers.0.w"]


@pytest.mark.parametrize("name", ["pytorch_model.bin", "model.pt", "consolidated.00.pth", "last.ckpt"])
def test_pickles_are_refused_unopened_with_the_way_to_convert(tmp_path, name):
    class Trap:
        def __reduce__(self):
            return (exec, ("raise SystemExit('the pickle was opened')",))

    (tmp_path / name).write_bytes(pickle.dumps(Trap()))
    for path in (tmp_path, tmp_path / name):
        with pytest.raises(DataError, match=r"weights as safetensors or GGUF, got .*save_pretrained") as error:
            read_tensors(path)
        assert name in str(error.value)
    write_tensors(tmp_path, {"a": torch.zeros(1)})  # beside safetensors nobody needs it
    assert list(read_tensors(tmp_path)) == ["a"]


def test_a_directory_without_weights(tmp_path):
    with pytest.raises(DataError, match=r"no model\.safetensors in it"):
        read_tensors(tmp_path)


def indexed(folder, weights, **shards):
    for name, tensors in shards.items():
        save_file(tensors, folder / f"{name}.safetensors")
    (folder / INDEX).write_text(weights if isinstance(weights, str) else json.dumps({"weight_map": weights}), encoding="utf-8")


A, B = {"a": torch.zeros(2)}, {"b": torch.ones(3)}
WRONG = {
    "a missing shard": ({"a": "one.safetensors", "b": "two.safetensors"}, {"one": A}, "no two.safetensors in it"),
    "a tensor in two shards": ({"a": "one.safetensors", "b": "two.safetensors"}, {"one": A, "two": {**A, **B}}, "a stands in one.safetensors and in two.safetensors"),
    "a tensor that no shard has": ({"a": "one.safetensors", "c": "one.safetensors"}, {"one": A}, "c in one.safetensors by the index, in none by the files"),
    "a tensor that the index lacks": ({"a": "one.safetensors"}, {"one": {**A, **B}}, "b in none by the index, in one.safetensors by the files"),
    "a tensor in another shard": ({"a": "two.safetensors", "b": "one.safetensors"}, {"one": A, "two": B}, "a in two.safetensors by the index, in one.safetensors by the files"),
    "a path upwards": ({"a": "../one.safetensors"}, {"one": A}, "no file of this directory: ../one.safetensors"),
    "an absolute path": ({"a": "/etc/one.safetensors"}, {}, "no file of this directory: /etc/one.safetensors"),
    "a path of Windows": ({"a": "..\\one.safetensors"}, {"one": A}, "no file of this directory"),
    "a pickle as shard": ({"a": "pytorch_model.bin"}, {}, "no file of this directory: pytorch_model.bin"),
    "no mapping": ([1, 2], {}, "a 'weight_map' that is no mapping of names"),
    "no text": ({"a": 3}, {}, "a 'weight_map' that is no mapping of names"),
    "no weight_map": ('{"metadata": {}}', {}, "weight_map"),
    "no JSON": ("{", {}, "expected an index of shards"),
    "a deep JSON": ("[" * 100_000, {}, "expected an index of shards"),
}


@pytest.mark.parametrize("case", WRONG)
def test_an_index_that_is_wrong(tmp_path, case):
    weights, shards, said = WRONG[case]
    folder = tmp_path / "model"
    folder.mkdir()
    indexed(folder, weights, **shards)
    with pytest.raises((CorruptError, DataError)) as error:
        read_tensors(folder)
    assert said in str(error.value)
    assert "\n" not in str(error.value)


def test_a_shard_cut_short_is_named(tmp_path):
    write_tensors(tmp_path, {"a": torch.zeros(8), "b": torch.zeros(8)}, 32)
    shard = tmp_path / "model-00002-of-00002.safetensors"
    shard.write_bytes(shard.read_bytes()[:-1])
    with pytest.raises(CorruptError, match=r"model-00002-of-00002\.safetensors.*b ends at byte 32 of 31"):
        read_tensors(tmp_path)
