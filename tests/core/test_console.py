"""Bars: what was done before a restart says nothing about how fast it goes now."""

from yanmo.core.console import Bar, Console, compact


def test_what_was_done_before_does_not_count_as_speed(capsys):
    with Console().bar("train", 1000, "steps", done=900) as bar:
        assert bar._plain() == " 90% "
        assert not bar._figures()
        bar.start, bar.said = bar.start - 60, bar.said - 60
        bar.advance(1, loss=0.5)
        assert bar.done == 901
        assert bar.rate() <= 1 / 60
        bar.total, bar.said = 910, bar.said - 60  # a budget of time ends it sooner than was planned
        bar.advance(1)
        assert " 99% " in bar._plain()
    said = capsys.readouterr().err.splitlines()[0]
    assert said.startswith("train:  90% ETA 5")
    assert said.endswith("steps/s · loss 0.5")


def test_a_bar_from_the_beginning():
    bar = Bar(Console(quiet=True), "read", None, "MB")
    bar.start -= 10
    bar.advance(20)
    assert 1.9 < bar.rate() <= 2
    assert compact(12345.0) == "12.3k"
