"""What `load` says of checkpoints that should not be opened: one line, before a module is made."""

from __future__ import annotations

import pickle
import subprocess
import sys
import time

import pytest
import torch

from yanmo.core import files
from yanmo.core.errors import CorruptError, DataError, RequestError
from yanmo.models.store import load, save
from yanmo.models.transformer import TransformerModel
from yanmo.models.weights.folder import read_tensors
from yanmo.models.weights.writing import write_tensors


@pytest.fixture
def saved(tokenizer, rng, tmp_path):
    model = TransformerModel(depth=2, width=64, heads=2, mlp_width=1024).build(tokenizer, rng, 16)
    save(tmp_path / "model", model, tokenizer)
    return tmp_path / "model"


def edit(folder, **changes):
    files.write_json(folder / "config.json", files.read_json(folder / "config.json") | changes)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"num_hidden_layers": 10**9}, "num_hidden_layers: expected a whole number from 0 to"),
        ({"num_hidden_layers": 10**9, "model_type": "gpt2", "architectures": ["GPT2LMHeadModel"]}, "num_hidden_layers"),
        ({"vocab_size": 10**10}, "vocab_size: expected a whole number from 0 to"),
        ({"hidden_size": 1 << 40}, "hidden_size: expected a whole number from 0 to"),
        ({"intermediate_size": 10**12}, "intermediate_size: expected a whole number from 0 to"),
        ({"max_position_embeddings": 10**12}, "max_position_embeddings: expected a whole number from 0 to"),
        ({"vocab_size": 7}, "a tokenizer of at most 7 tokens, as many as the model has"),
    ],
)
def test_a_config_that_asks_for_more_than_there_is(saved, change, said):
    edit(saved, **change)
    started = time.process_time()
    with pytest.raises(DataError) as error:
        load(saved)
    assert said in str(error.value)
    assert time.process_time() - started < 2


def test_config_that_is_a_bomb(saved):
    (saved / "config.json").write_text("[" * 200_000)
    with pytest.raises(CorruptError, match="valid JSON"):
        load(saved)


def test_a_weight_that_is_nan(saved):
    tensors = {name: tensor.clone() for name, tensor in read_tensors(saved).items()}  # the file is mapped until then
    tensors["model.norm.weight"] = torch.full((64,), torch.nan)
    write_tensors(saved, tensors)
    with pytest.raises(CorruptError, match=r"64 values of model\.norm\.weight are NaN or infinite"):
        load(saved)


def test_a_whole_model_in_shards(saved, rng):
    before = load(saved)
    tensors = dict(before.model.named_parameters())
    published = read_tensors(saved)
    again = {name: published[name].clone() for name in published}
    (saved / "model.safetensors").unlink()
    write_tensors(saved, again, 50_000)
    after = load(saved)
    assert all(torch.equal(value, tensors[name]) for name, value in after.model.named_parameters())


@pytest.mark.parametrize("name", ["model.bin", "model.pt", "model.ckpt"])
def test_a_pickle_is_not_opened(tmp_path, name):
    (tmp_path / name).write_bytes(pickle.dumps({"a": 1}))
    with pytest.raises(DataError, match="a pickle can run any code"):
        load(tmp_path / name)
    with pytest.raises((DataError, RequestError)):
        load(tmp_path)


LIMITED = """
import sys, threading, time, torch
from pathlib import Path
from yanmo.models.gguf.plan import planned
from yanmo.models.gguf.writer import write
from yanmo.models.weights.folder import read_tensors
from yanmo.models.weights.tensors import Cast
from yanmo.models.weights.writing import write_tensors
folder, config = Path(sys.argv[1]), eval(sys.argv[2])
torch.set_num_threads(1)
def anonymous():  # bytes of this process that are in no file
    return int(next(line for line in open("/proc/self/status") if line.startswith("RssAnon")).split()[1]) * 1024
seen = [anonymous()]
def watch():
    while True:
        seen.append(anonymous())
        time.sleep(0.002)
threading.Thread(target=watch, daemon=True).start()
source = read_tensors(folder)
(folder / "out").mkdir()
write_tensors(folder / "out", Cast(source, torch.float16), 64 << 20)
metadata, tensors = planned(config, source, "q8_0", "config.json")
write(folder / "out.gguf", metadata, tensors)
print(sum(source.bytes(name) for name in source), max(seen) - seen[0])
"""


@pytest.mark.slow
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
def test_a_model_is_converted_in_the_memory_of_a_few_tensors(tmp_path):
    """640 MB of float32 (a sparse file of zeros), tensors of 17 MB: both conversions take under 128 MB."""
    import json

    wide, layers = 2048, 38
    shapes = {"model.embed_tokens.weight": [64, wide], "model.norm.weight": [wide], "lm_head.weight": [64, wide]}
    shapes |= {f"model.layers.{layer}.self_attn.o_proj.weight": [wide, wide] for layer in range(layers)}
    header, at = {}, 0
    for name, shape in shapes.items():
        size = 4 * shape[0] * (shape[1] if len(shape) > 1 else 1)
        header[name] = {"dtype": "F32", "shape": shape, "data_offsets": [at, at + size]}
        at += size
    raw = json.dumps(header).encode()
    with open(tmp_path / "model.safetensors", "wb") as file:
        file.write(len(raw).to_bytes(8, "little") + raw)
        file.truncate(8 + len(raw) + at)
    config = {"model_type": "llama", "vocab_size": 64, "hidden_size": wide, "intermediate_size": wide, "num_hidden_layers": layers,
              "num_attention_heads": 16, "max_position_embeddings": 64, "rms_norm_eps": 1e-6}  # fmt: skip
    run = subprocess.run([sys.executable, "-c", LIMITED, str(tmp_path), repr(config)], capture_output=True, text=True, timeout=120)
    assert run.returncode == 0, run.stderr[-2000:]
    total, taken = map(int, run.stdout.split())
    assert total == at > 600 << 20
    assert taken < 128 << 20, f"{taken >> 20} MB"
    assert (tmp_path / "out.gguf").stat().st_size > at // 4
