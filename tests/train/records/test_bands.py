"""Where a loss is expected, and what is said when it is not there."""

import math

import pytest

from yanmo.core.console import Console
from yanmo.train.loop import train
from yanmo.train.records.bands import MEAN, Band, band_of, bands, features
from yanmo.train.records.metrics import read

KINDS = sorted(bands()["kinds"])


def a_band(kind="transformer"):
    fit = bands()["kinds"][kind]
    middle = {name: math.sqrt(low * high) for name, (low, high) in fit["ranges"].items()}
    return Band(fit, round(middle["vocabulary"]), round(middle["parameters"]), round(middle["batch"])), round(middle["tokens"])


@pytest.mark.parametrize("kind", KINDS)
def test_the_shipped_bands_say_what_they_rest_on(kind):
    fit = bands()["kinds"][kind]
    assert fit["runs"] >= 8
    assert fit["halfwidth"] > 0
    assert 0.9 <= fit["coverage"]["points_of_runs_left_out"] <= 1  # of runs that had no part in the fit; 0.95 is wanted
    assert len(fit["coefficients"]) == len(features(10, 10, 10))


@pytest.mark.parametrize("kind", KINDS)
def test_more_tokens_mean_less_loss_and_a_loss_stays_below_knowing_nothing(kind):
    band, _ = a_band(kind)
    low, high = band.fit["ranges"]["tokens"]
    at = [band.expected(round(low * (high / low) ** share)) for share in (0.01, 0.25, 0.5, 0.75, 0.99)]
    middles = [found[1] for found in at]
    assert middles == sorted(middles, reverse=True)
    for under, middle, over in at:
        assert 0 < under < middle < over
        assert middle < math.log(band.vocabulary)


def test_outside_of_what_was_seen_nothing_is_said():
    band, tokens = a_band()
    assert band.expected(tokens) is not None
    assert band.expected(tokens * 10**6) is None
    assert Band(band.fit, band.vocabulary, 10**12, band.batch).expected(tokens) is None


def test_it_is_told_once():
    band, tokens = a_band()
    expected = band.expected(tokens)
    for _ in range(2 * MEAN):
        assert band.look(tokens + MEAN * band.batch // 2, expected[1]) is None
    told = [band.look(tokens + MEAN * band.batch // 2, 1.5 * expected[2]) for _ in range(3 * MEAN)]
    assert sum(found is not None for found in told) == 1


def test_other_objectives_have_no_band():
    assert band_of({"type": "transformer"}, "masked", 4096, 10**6, 4096) is None
    assert band_of({"type": "nothing"}, "causal", 4096, 10**6, 4096) is None
    assert band_of({"type": "transformer"}, "causal", 4096, 10**6, 4096) is not None


def test_what_learns_faster_is_a_kind_of_its_own():
    known = {"type": "transformer", "tie": True, "embedding": {"grams": None}}
    assert band_of(known, "causal", 4096, 10**6, 4096) is not None
    for other in ({"tie": False}, {"embedding": {"grams": {"orders": [2], "rows": 64}}}):
        assert band_of(known | other, "causal", 4096, 10**6, 4096) is None


def always(value):
    ranges = {name: [0, 10**12] for name in ("tokens", "parameters", "batch", "vocabulary")}
    return {"coefficients": [math.log(value), 0, 0, 0, 0], "halfwidth": 0.05, "ranges": ranges}


def test_a_run_outside_of_its_band_is_told_so_once_and_after_a_kill_no_more(job, capsys):
    made = job("a", steps=MEAN + 6, checkpoint_every=MEAN + 3)
    made.console, made.band = Console(quiet=True), Band(always(0.01), 200, 10, 10)
    inner, taken = made.batches.take, []

    def take(cursor, rng):
        taken.append(cursor)
        if len(taken) > MEAN + 4:
            raise KeyboardInterrupt
        return inner(cursor, rng)

    made.batches.take = take
    with pytest.raises(KeyboardInterrupt):
        train(made)
    said = capsys.readouterr().err
    assert said.count("is outside of 0.050 to 0.056") == 1
    assert "learning rate" in said
    again = job("a", steps=MEAN + 6, checkpoint_every=MEAN + 3)
    again.band = Band(always(0.01), 200, 10, 10)
    train(again)
    assert "outside" not in capsys.readouterr().err
    lines = [line for line in read(again.folder / "metrics.jsonl") if "outside_band" in line]
    assert [line["step"] for line in lines] == [MEAN]
