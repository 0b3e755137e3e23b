"""Real vocabularies against ids that others computed: llama.cpp's `ggml-vocab-*.gguf` with `.inp` and `.out`.

    YANMO_VOCABULARIES=FOLDER    the folder `models` of llama.cpp's sources; other folders beside it, separated by ':',
                                 may hold o200k_base.tiktoken and qwen.tiktoken, held against the same expected ids
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from yanmo.text import gguf
from yanmo.text.tokenizer import Tokenizer

FOLDERS = [Path(folder) for folder in os.environ.get("YANMO_VOCABULARIES", "").split(":") if folder]
GGUF = sorted(file for folder in FOLDERS for file in folder.glob("ggml-vocab-*.gguf"))
RANKS = {"o200k_base": "gpt-4o", "qwen": "deepseek-r1-qwen"}  # files of ranks that have the ids of another's `.out`

pytestmark = pytest.mark.skipif(not FOLDERS, reason="YANMO_VOCABULARIES names no folder with llama.cpp's vocabularies")


def expected(stem: Path) -> list[tuple[str, list[int]]]:
    """(text, its ids) of a vocabulary's `.inp` and `.out`."""
    texts = Path(f"{stem}.inp").read_bytes().decode("utf-8").split("\n__ggml_vocab_test__\n")
    lines = Path(f"{stem}.out").read_text(encoding="utf-8").split("\n")
    return [(text, [int(number) for number in line.split()]) for text, line in zip(texts, lines)]


@pytest.mark.parametrize("file", GGUF, ids=lambda file: file.stem.removeprefix("ggml-vocab-"))
def test_a_vocabulary_gives_the_ids_that_are_expected(file, tmp_path):
    reader = pytest.importorskip("gguf", reason="gguf is a development dependency")
    fields = reader.GGUFReader(file).fields
    ours = gguf.read({key: field.contents() for key, field in fields.items() if key.startswith("tokenizer.")}, file.name)
    assert ours.pad_id != ours.eos_id
    assert ours.size == len(fields["tokenizer.ggml.tokens"].data)
    ours.save(tmp_path)
    again = Tokenizer.load(tmp_path)
    if not Path(f"{file}.out").is_file():  # three of them come without: that they open and lose nothing is what can be seen
        text = "Call me Ishmael, 话说天下大势 \U0001f44b 3.14"
        assert ours.decode(ours.encode(text)) == text
        assert again.encode(text) == ours.encode(text)
        return
    cases = expected(file)
    assert len(cases) > 40
    for text, ids in cases:
        assert ours.encode(text) == ids == again.encode(text)
        if ours.lossless:
            assert ours.decode(ids) == text


@pytest.mark.parametrize("name", RANKS)
def test_a_file_of_ranks_gives_the_ids_that_are_expected(name):
    found = [file for folder in FOLDERS for file in folder.rglob(f"{name}.tiktoken")]
    outs = [file for folder in FOLDERS for file in folder.glob(f"ggml-vocab-{RANKS[name]}.gguf.out")]
    if not found or not outs:
        pytest.skip(f"no {name}.tiktoken in the folders of YANMO_VOCABULARIES")
    ours = Tokenizer.load(found[0])
    for text, ids in expected(outs[0].with_suffix("")):
        assert ours.encode(text) == ids
