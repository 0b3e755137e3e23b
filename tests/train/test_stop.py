"""What a stop says, and who it is for."""

import signal
import sys

import pytest

from yanmo.core.stopped import Stopped, again
from yanmo.train.stop import stopping


@pytest.mark.parametrize("script", ["/somewhere/bin/yanmo", "/site-packages/yanmo/__main__.py"])
def test_what_to_run_next_is_the_command_as_it_was_typed(script, monkeypatch):
    monkeypatch.setattr(sys, "argv", [script, "run", "my recipe.yaml", "pretrain.train.steps=9", "--run-dir", "跑"])
    said = again().render("en")
    assert said == "run the same command again to go on: yanmo run 'my recipe.yaml' pretrain.train.steps=9 --run-dir '跑'"


@pytest.mark.parametrize("script", ["/site-packages/pytest/__main__.py", "train.py", ""])
def test_of_another_program_nothing_is_guessed(script, monkeypatch):
    monkeypatch.setattr(sys, "argv", [script, "run"])
    assert again().render("en") == "run the same command again to go on"


def test_exit_status():
    assert Stopped.after("x", "SIGTERM", 1, 2).exit_status == 0
    assert Stopped.after("x", "SIGINT", 1, 2).exit_status == 130


def test_a_second_interrupt_is_the_usual_one():
    with stopping() as stop:
        signal.raise_signal(signal.SIGINT)
        assert stop.signal == "SIGINT"
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
