"""A small real tokenizer and two texts, English and Chinese, for the tests of models."""

import pytest
import torch

ENGLISH = "Call me Ishmael. Some years ago, never mind how long precisely, I thought I would sail about a little. 🐋"
CHINESE = "话说天下大势，分久必合，合久必分。周末七国分争，并入于秦；及秦灭之后，楚汉分争，又并入于汉。"


@pytest.fixture(scope="session")
def texts():
    return [ENGLISH, CHINESE]


@pytest.fixture(scope="session")
def tokenizer(texts):
    from yanmo.text.characters import CharacterTokenizer

    return CharacterTokenizer(min_count=1).train(texts)


@pytest.fixture
def rng():
    return torch.Generator().manual_seed(0)


@pytest.fixture(scope="session")
def hf():
    """transformers, silent."""
    transformers = pytest.importorskip("transformers", reason="transformers is a development dependency")
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    return transformers
