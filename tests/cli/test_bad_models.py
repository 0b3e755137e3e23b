"""Models that should not be opened, through every verb that opens one and through `yanmo.load`: one line, exit status 1 or 2,
no traceback, nothing written, in little time and memory.

What may be wrong with a model, and where it is tried (`here`: a case of `BAD` below; the other files try the reader alone, in
all its variants):

    truncated, oversized, overlapping headers of safetensors   here: header …; tests/models/weights/test_header.py
    wrong shapes and types                                     here: shape, dtype …; tests/models/test_store.py
    missing and extra tensors                                  here: tensor …; tests/models/test_store.py
    NaN weights                                                here: NaN …; tests/models/weights/test_folder.py
    a config that asks for 10^9 layers, 10^12 numbers          here: config …; tests/models/weights/test_opening.py
    a tokenizer larger than the embedding                      here: tokenizer of more tokens
    a model and a tokenizer that do not belong together        here: tokenizer of another model
    GGUF: magic, version, offsets, arrays of 2^60              here: gguf …; tests/models/gguf/test_reader.py
    pickles, with the way to convert                           here: pickle …; tests/models/weights/test_folder.py
    bombs of tokenizer.json                                    here: tokenizer …; tests/text/test_loading.py
    chat templates that never end                              here: template …; tests/text/test_chat.py
    indexes of shards                                          here: index …; tests/models/weights/test_folder.py
    folders that are empty, links, encodings, pointers         here: folder …, link …, text …, pointer …
"""

from __future__ import annotations

import json
import os
import pickle
import re
import resource
import shutil
import struct
import time
from pathlib import Path

import pytest
import torch

import yanmo
from tests.inference.tiny import TEXTS, tokenizer
from yanmo.cli import main
from yanmo.core import files
from yanmo.core.errors import YanmoError
from yanmo.models.store import save
from yanmo.models.transformer import TransformerModel
from yanmo.models.weights.folder import read_tensors
from yanmo.models.weights.writing import write_tensors
from yanmo.stages.export import export
from yanmo.text.bpe import BpeTokenizer
from yanmo.text.characters import CharacterTokenizer

SECONDS, MEMORY = 6, 600 << 10  # processor time of a case through all verbs; KiB that the process may grow by


@pytest.fixture(scope="module")
def sound(tmp_path_factory):
    """A folder in shards and one whole, and a GGUF file, all of which open."""
    place = tmp_path_factory.mktemp("sound")
    model = TransformerModel(depth=2, width=32, heads=2, context=64).build(tokenizer(), torch.Generator().manual_seed(0))
    save(place / "hf", model, tokenizer())
    export(place / "hf", "gguf", place / "m.gguf")
    export(place / "hf", "hf", place / "shards", max_shard_bytes=40_000)
    for made in ("hf", "shards", "m.gguf"):
        assert yanmo.load(place / made).generate("ink", temperature=0, max_tokens=2) is not None
    return place


def config(**changes):
    def change(folder):
        path = folder / "config.json"
        path.write_text(json.dumps(json.loads(path.read_text("utf-8")) | changes), encoding="utf-8")

    return change


def tensors(edit):
    def change(folder):
        held = {name: tensor.clone() for name, tensor in read_tensors(folder).items()}
        edit(held)
        write_tensors(folder, held)

    return change


def header(edit):
    """The header of model.safetensors, changed; its data stay."""

    def change(folder):
        path = folder / "model.safetensors"
        raw = path.read_bytes()
        size = int.from_bytes(raw[:8], "little")
        fields, data = edit(json.loads(raw[8 : 8 + size]), raw[8 + size :])
        made = fields if isinstance(fields, bytes) else json.dumps(fields).encode()
        path.write_bytes(len(made).to_bytes(8, "little") + made + data)

    return change


def moved(name, **entry):
    def edit(fields, data):
        fields[name] |= entry
        return fields, data

    return header(edit)


def text_of(name, content):
    return lambda folder: (folder / name).write_bytes(content if isinstance(content, bytes) else content.encode())


def cut(name, keep):
    return lambda folder: (folder / name).write_bytes((folder / name).read_bytes()[:keep])


def other_tokenizer(made):
    def change(folder):
        made.save(folder)

    return change


def settings_of(name, edit):
    def change(folder):
        found = json.loads((folder / name).read_text("utf-8"))
        edit(found)
        (folder / name).write_text(json.dumps(found), encoding="utf-8")

    return change


def pickled(name):
    class Trap:
        def __reduce__(self):
            return exec, ("raise SystemExit('the pickle was opened')",)

    def change(folder):
        (folder / "model.safetensors").unlink()
        (folder / name).write_bytes(pickle.dumps(Trap()))

    return change


def emptied(folder):
    shutil.rmtree(folder)
    folder.mkdir()


def linked(name, target):
    def change(folder):
        (folder / name).unlink()
        os.symlink(target, folder / name)

    return change


def sparse(shape, extra=()):
    """A tensor of that shape in a file that is as long as it says and takes no disk; the config asks for as much."""

    def change(folder):
        size = 4
        for number in shape:
            size *= number
        names = ["model.embed_tokens.weight", *extra]
        fields = {name: {"dtype": "F32", "shape": list(shape), "data_offsets": [at * size, (at + 1) * size]} for at, name in enumerate(names)}
        raw = json.dumps(fields).encode()
        with open(folder / "model.safetensors", "wb") as file:
            file.write(len(raw).to_bytes(8, "little") + raw)
            file.truncate(8 + len(raw) + size * len(names))
        config(vocab_size=shape[0], hidden_size=shape[1])(folder)

    return change


def many_small(folder):
    """Ten thousand tensors of one number, so that as many layers look likely."""
    write_tensors(folder, {f"model.layers.{n}.x": torch.zeros(1) for n in range(10_000)})
    config(num_hidden_layers=5000, hidden_size=512, intermediate_size=512)(folder)


def hollow(folder):
    """A tensor without numbers, as wide as it likes."""
    tensors(lambda held: held.update({"model.norm.weight": torch.zeros(0, 1 << 40)}))(folder)
    config(hidden_size=1 << 40, intermediate_size=1 << 40)(folder)


def index(**weights):
    return settings_of("model.safetensors.index.json", lambda found: found["weight_map"].update(weights))


def shard_gone(folder):
    sorted(folder.glob("model-*.safetensors"))[-1].unlink()


BORDER = "<|endoftext|>"
NORM, FIRST = "model.norm.weight", "model.embed_tokens.weight"
LFS = "version https://git-lfs.github.com/spec/v1\noid sha256:" + "0" * 64 + "\nsize 538090408\n"
MANY = BpeTokenizer(size=600).train([*TEXTS, *("".join(map(chr, range(0x4E00 + 50 * n, 0x4E32 + 50 * n))) for n in range(9))] * 2)
OTHERS = CharacterTokenizer(min_count=1).train(["The ink stick, quite another one: 砚台笔墨"])

# name → (which of the sound ones, what is done to it, what is said)
BAD = {
    "header cut in its length": ("hf", cut("model.safetensors", 5), "a header of"),
    "header cut short": ("hf", cut("model.safetensors", 200), "a header of"),
    "header, data cut short": ("hf", cut("model.safetensors", -4), "the file is cut short"),
    "header of 2^62 bytes": ("hf", text_of("model.safetensors", struct.pack("<Q", 1 << 62) + b"{}"), "a header of 4611686018427387904 bytes"),
    "header of nothing": ("hf", text_of("model.safetensors", b""), "a header of 0 bytes in a file of 0"),
    "header that is no JSON": ("hf", header(lambda f, d: (b"<html>404: Not Found</html>", d)), "a header that is no JSON"),
    "header nested 100,000 deep": ("hf", header(lambda f, d: (b"[" * 100_000, d)), "a header that is no JSON"),
    "header with tensors over each other": ("hf", moved(NORM, data_offsets=[0, 128]), "overlap"),
    "header with a gap": ("hf", header(lambda f, d: (f, d + b"\0" * 64)), "64 bytes behind the last tensor"),
    "header, a shape that is another": ("hf", moved(NORM, shape=[33]), "128 bytes where F32 (33,) takes 132"),
    "header, 10^12 numbers that are not there": ("hf", moved(NORM, shape=[10**6, 10**6]), "128 bytes where"),
    "header, a negative size": ("hf", moved(NORM, shape=[-32]), "not a dtype, a shape and two offsets"),
    "header, an unknown type": ("hf", moved(NORM, dtype="Q9"), "dtype Q9"),
    "header, __proto__ for a tensor": ("hf", header(lambda f, d: (f | {"__proto__": 1}, d)), "__proto__: not a dtype"),
    "shape that is another": ("hf", tensors(lambda t: t.update({NORM: torch.zeros(16)})), f"of another shape: {NORM} (16,) ≠ (32,)"),
    "dtype of whole numbers": ("hf", tensors(lambda t: t.update({NORM: torch.ones(32, dtype=torch.int64)})), f"no floating-point numbers: {NORM} int64"),
    "dtype of truth values": ("hf", tensors(lambda t: t.update({NORM: torch.ones(32, dtype=torch.bool)})), f"no floating-point numbers: {NORM} bool"),
    "tensor missing": ("hf", tensors(lambda t: t.pop(NORM)), f"missing: {NORM}"),
    "tensor too many": ("hf", tensors(lambda t: t.update(backdoor=torch.zeros(3))), "unexpected: backdoor"),
    "tensors, none": ("hf", tensors(lambda t: t.clear()), "missing: embed_tokens.weight"),
    "NaN in a weight": ("hf", tensors(lambda t: t[NORM].fill_(torch.nan)), f"32 values of {NORM} are NaN or infinite"),
    "NaN that is infinite": ("hf", tensors(lambda t: t[FIRST][3].fill_(torch.inf)), f"32 values of {FIRST} are NaN or infinite"),
    "config of 10^9 layers": ("hf", config(num_hidden_layers=10**9), "num_hidden_layers: expected a whole number from 0 to 32"),
    "config of 10^9 layers for transformers": ("hf", config(num_hidden_layers=10**9, model_type="olmo2", architectures=["Olmo2ForCausalLM"]),
                                               "num_hidden_layers: expected a whole number from 0 to 32"),
    "config of 10^12 positions": ("hf", config(max_position_embeddings=10**12), "max_position_embeddings: expected a whole number"),
    "config of 5000 layers over crumbs": ("hf", many_small, "num_hidden_layers: expected a whole number from 0 to 4096"),
    "config of 2^40 over a hollow tensor": ("hf", hollow, "hidden_size: expected a whole number from 0 to"),
    "config of 10^11 numbers over a sparse file": ("hf", sparse((400, 1 << 18)), "expected"),
    "config that is empty": ("hf", text_of("config.json", b""), "config.json: expected valid JSON"),
    "config that is no mapping": ("hf", text_of("config.json", "[1, 2]"), "config.json: expected a mapping, got list"),
    "config nested 100,000 deep": ("hf", text_of("config.json", '{"a":' * 100_000), "config.json: expected valid JSON"),
    "config with a number of a million digits": ("hf", text_of("config.json", '{"vocab_size": ' + "9" * 1_000_000 + "}"), "valid JSON"),
    "config of a kind that nobody knows": ("hf", config(model_type="gpt-7"), "a 'model_type' that we read"),
    "config without a kind": ("hf", text_of("config.json", "{}"), "a 'model_type' that we read"),
    "config of another family": ("hf", config(model_type="gpt2", architectures=["GPT2LMHeadModel"]), "a 'n_embd'"),
    "config with architectures that are no list": ("hf", config(architectures={"x": 1}), "architectures: expected a list"),
    "config with an architecture that is no model": ("hf", config(model_type="olmo2", architectures=["pipeline"]), "a model that transformers knows"),
    "config with code": ("hf", config(model_type="mine", auto_map={"AutoModel": "mine.Model"}), "trust_code=True"),
    "config with labels that are no mapping": ("hf", config(id2label=["a"]), "id2label: expected a mapping"),
    "config of a size that is text": ("hf", config(hidden_size="32"), "hidden_size: expected a whole number"),
    "config of sizes that do not fit": ("hf", config(num_attention_heads=7), "expected"),
    "text in UTF-16": ("hf", lambda f: (f / "config.json").write_text((f / "config.json").read_text("utf-8"), "utf-16"), "config.json: expected valid JSON"),
    "text, a tokenizer in UTF-16": ("hf", lambda f: (f / "tokenizer.json").write_text((f / "tokenizer.json").read_text("utf-8"), "utf-16"),
                                    "tokenizer.json: expected UTF-8 text"),
    "tokenizer of more tokens": ("hf", other_tokenizer(MANY), "a tokenizer of at most 400 tokens"),
    "tokenizer of another model": ("hf", other_tokenizer(OTHERS), "the tokenizer that the model was trained with"),
    "tokenizer that is no JSON": ("hf", text_of("tokenizer.json", "<html>"), "tokenizer.json: expected a tokenizer"),
    "tokenizer that is empty": ("hf", text_of("tokenizer.json", ""), "tokenizer.json: expected a tokenizer"),
    "tokenizer nested 100,000 deep": ("hf", text_of("tokenizer.json", '{"a":' * 100_000), "tokenizer.json: expected a tokenizer"),
    "tokenizer with an id of 10^9": ("hf", settings_of("tokenizer.json", lambda t: t["model"]["vocab"].update({BORDER: 10**9})), "expected"),
    "tokenizer with two tokens of one id": ("hf", settings_of("tokenizer.json", lambda t: t["model"]["vocab"].update(a=7)), "one token for each id"),
    "tokenizer with a merge of nothing": ("hf", settings_of("tokenizer.json", lambda t: t["model"]["merges"].append(["nowhere", "x"])), "a tokenizer"),
    "tokenizer with roles that are lists": ("hf", settings_of("tokenizer_config.json", lambda t: t.update(eos_token=["a"])), "eos_token: expected a string"),
    "tokenizer with a role that it has not": ("hf", settings_of("tokenizer_config.json", lambda t: t.update(eos_token="<nowhere>")), "a special token <nowhere>"),
    "tokenizer config that is no JSON": ("hf", text_of("tokenizer_config.json", "{,}"), "tokenizer_config.json: expected valid JSON"),
    "index naming a shard that is gone": ("shards", shard_gone, "no model-0000"),
    "index naming a path upwards": ("shards", index(**{NORM: "../hf/model.safetensors"}), "no file of this directory"),
    "index naming an absolute path": ("shards", index(**{NORM: "/etc/passwd.safetensors"}), "no file of this directory"),
    "index naming a pickle": ("shards", index(**{NORM: "pytorch_model.bin"}), "no file of this directory"),
    "index naming a tensor that is nowhere": ("shards", index(ghost="model-00001-of-00005.safetensors"), "ghost in model-00001"),
    "index that is no JSON": ("shards", text_of("model.safetensors.index.json", "{"), "an index of shards"),
    "pickle .bin": ("hf", pickled("pytorch_model.bin"), "save_pretrained(NEW) writes safetensors"),
    "pickle .pt": ("hf", pickled("model.pt"), "a pickle can run any code"),
    "pickle by another name": ("hf", pickled("model.safetensors"), "a header"),
    "pickle for transformers": ("hf", lambda f: (config(model_type="olmo2", architectures=["Olmo2ForCausalLM"])(f), pickled("pytorch_model.bin")(f)),
                                "a pickle can run any code"),
    "folder that is empty": ("hf", emptied, "no config.json in it"),
    "folder without weights": ("hf", lambda f: (f / "model.safetensors").unlink(), "no model.safetensors in it"),
    "folder without a config": ("hf", lambda f: (f / "config.json").unlink(), "no config.json in it"),
    "link to nothing": ("hf", linked("model.safetensors", "nowhere"), "no model.safetensors in it"),
    "link to itself": ("hf", linked("config.json", "config.json"), "no config.json in it"),
    "link to a device": ("hf", linked("model.safetensors", "/dev/zero"), "no model.safetensors in it"),
    "link to what is no JSON": ("hf", linked("config.json", "/etc/hostname"), "config.json: expected"),
    "pointer of Git LFS for weights": ("hf", text_of("model.safetensors", LFS), "git lfs pull"),
    "pointer of Git LFS for a tokenizer": ("hf", text_of("tokenizer.json", LFS), "git lfs pull"),
    "pointer of Git LFS for a GGUF": ("m.gguf", lambda f: f.write_text(LFS), "git lfs pull"),
    "gguf of another magic": ("m.gguf", lambda f: f.write_bytes(b"GGML" + f.read_bytes()[4:]), "begins with b'GGML'"),
    "gguf of version 1": ("m.gguf", lambda f: f.write_bytes(b"GGUF\1\0\0\0" + f.read_bytes()[8:]), "version 1"),
    "gguf, big-endian": ("m.gguf", lambda f: f.write_bytes(b"GGUF\0\0\0\3" + f.read_bytes()[8:]), "big-endian"),
    "gguf cut short": ("m.gguf", lambda f: f.write_bytes(f.read_bytes()[:-64]), "cut short"),
    "gguf cut in its settings": ("m.gguf", lambda f: f.write_bytes(f.read_bytes()[:400]), "expected a GGUF file"),
    "gguf of nothing": ("m.gguf", lambda f: f.write_bytes(b""), "expected a GGUF file"),
    "gguf of 2^60 tensors": ("m.gguf", lambda f: f.write_bytes(f.read_bytes()[:8] + struct.pack("<QQ", 1 << 60, 1) + f.read_bytes()[24:]), f"{1 << 60} tensors"),
    "gguf with an array of 2^60": ("m.gguf", lambda f: f.write_bytes(b"GGUF" + struct.pack("<IQQQ", 3, 0, 1, 1) + b"k" + struct.pack("<IIQ", 9, 4, 1 << 60)),
                                   f"k of {1 << 60} elements"),
}  # fmt: skip


def verbs(model, place):
    """Every verb that opens a model, on this one."""
    text, out = str(place / "text.txt"), str(place / "out")
    return {
        "generate": ["generate", model, "The ink", "--max-tokens", "1"],
        "chat": ["generate", model, "The ink", "--chat", "--max-tokens", "1"],
        "score": ["score", model, text],
        "predict": ["predict", model, "The ink"],
        "hf": ["export", model, out, "--to", "hf", "--quiet"],
        "gguf": ["export", model, out, "--to", "gguf", "--quiet"],
        "onnx": ["export", model, out, "--to", "onnx", "--quiet"],
        "evaluate": ["evaluate", model, "--task", "language_modeling", "--data", text],
    }


@pytest.mark.parametrize("case", BAD)
def test_one_line_and_no_work(sound, tmp_path, capsys, case):
    kind, change, said = BAD[case]
    model = tmp_path / kind
    if (sound / kind).is_dir():
        shutil.copytree(sound / kind, model)
    else:
        shutil.copy(sound / kind, model)
    change(model)
    (tmp_path / "text.txt").write_text(TEXTS[0], encoding="utf-8")
    before = sorted(str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*"))
    started, grown = time.process_time(), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(YanmoError) as caught:
        yanmo.load(model)
    lines = {"load": str(caught.value)}
    for verb, arguments in verbs(str(model), tmp_path).items():
        status = main(arguments)
        out, err = capsys.readouterr()
        assert status in (1, 2), verb
        assert out == "", verb
        assert err.count("\n") == 1, verb
        assert err.startswith("yanmo: "), verb
        lines[verb] = err[7:].strip()
    for verb, line in lines.items():
        assert said in line, f"{verb}: {line}"
        assert len(line) < 900, verb
        assert "Traceback" not in line
    assert sorted(str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*")) == before
    assert time.process_time() - started < SECONDS
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - grown < MEMORY


TEMPLATES = {
    "template that is broken": "{% for %}",
    "template that loops for ever": "{% for i in range(99999) %}{% for j in range(99999) %}{{ i }}{% endfor %}{% endfor %}",
    "template that fills the memory": "{{ 'a' * 10 ** 10 }}",
    "template that calls itself": "{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}",
    "template that looks around": "{{ ''.__class__.__mro__[1].__subclasses__() }}",
}


@pytest.mark.parametrize("case", TEMPLATES)
@pytest.mark.parametrize("kind", ["hf", "gguf"])
def test_a_chat_template_is_asked_before_the_model(sound, tmp_path, capsys, monkeypatch, case, kind):
    """A model with a bad template goes on with texts; who talks to it is told."""
    monkeypatch.setattr("yanmo.text.bounded.SECONDS", 0.3)
    shutil.copytree(sound / "hf", tmp_path / "hf")
    settings_of("tokenizer_config.json", lambda found: found.update(chat_template=TEMPLATES[case]))(tmp_path / "hf")
    model = tmp_path / "hf"
    if kind == "gguf":
        model = tmp_path / "m.gguf"
        assert main(["export", str(tmp_path / "hf"), str(model), "--to", "gguf", "--quiet"]) == 0
    assert main(["generate", str(model), "The ink", "--max-tokens", "1"]) == 0
    capsys.readouterr()
    started = time.process_time()
    assert main(["generate", str(model), "The ink", "--chat", "--max-tokens", "1"]) == 2
    out, err = capsys.readouterr()
    assert (out, err.count("\n")) == ("", 1)
    assert err.startswith("yanmo: chat_template: expected a template that")
    assert time.process_time() - started < 3


def test_a_bad_generation_config_is_said_when_it_is_exported(sound, tmp_path, capsys):
    shutil.copytree(sound / "hf", tmp_path / "hf")
    for content in ("{", "[]", "[" * 100_000):
        (tmp_path / "hf" / "generation_config.json").write_text(content)
        assert main(["export", str(tmp_path / "hf"), str(tmp_path / "out"), "--to", "hf", "--quiet"]) == 1
        assert re.match(r"yanmo: .*generation_config\.json: expected (valid JSON|a mapping)", capsys.readouterr().err)
        assert not (tmp_path / "out").exists()


def test_links_within_a_cache_are_followed(sound, tmp_path):
    """As transformers' cache has them: a snapshot of links to blobs beside it."""
    blobs, snapshot = tmp_path / "blobs", tmp_path / "snapshots" / "main"
    shutil.copytree(sound / "hf", blobs)
    snapshot.mkdir(parents=True)
    for path in blobs.iterdir():
        os.symlink(Path("..") / ".." / "blobs" / path.name, snapshot / path.name)
    assert yanmo.load(snapshot).generate("ink", temperature=0, max_tokens=3) == yanmo.load(blobs).generate("ink", temperature=0, max_tokens=3)


def test_a_tokenizer_with_more_tokens_behind_the_same_is_the_same(sound, tmp_path):
    """Added tokens need rows of their own; without them the model is as it was saved, and opens."""
    shutil.copytree(sound / "hf", tmp_path / "hf")
    found = files.read_json(tmp_path / "hf" / "config.json")
    of = tokenizer()
    assert found["yanmo"]["tokenizer"] == of.identity() == {"tokens": of.size, "sha256": of.identity()["sha256"]}
    assert of.identity(of.size) == of.identity()
    assert of.identity(of.size - 1) != of.identity()
    made = BpeTokenizer(size=400, special=("<extra>",)).train(TEXTS * 2)
    made.save(tmp_path / "hf")
    settings_of("config.json", lambda config: config["yanmo"].pop("tokenizer"))(tmp_path / "hf")
    yanmo.load(tmp_path / "hf")  # nothing is said of which tokenizer it was
