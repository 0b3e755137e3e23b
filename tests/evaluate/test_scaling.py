"""The scaling law: planted coefficients come back, the interval holds what it says, and bad requests are told."""

import json
import math

import numpy as np
import pytest

from yanmo.cli import main
from yanmo.core.errors import RequestError
from yanmo.evaluate import scaling
from yanmo.evaluate.scaling import Law, Point, fit, held_out, points_of, predict, report

CHINCHILLA = Law(1.69, 406.4, 0.34, 410.7, 0.28)  # Hoffmann et al. 2022, appendix D.3
SIZES, LENGTHS = (1e6, 4e6, 1.6e7, 6.4e7), (2e7, 8e7, 3.2e8, 1.28e9)


def runs(law=CHINCHILLA, noise=0.0, seed=0, sizes=SIZES, lengths=LENGTHS):
    rng = np.random.default_rng(seed)
    return [Point(f"{n:.0e}-{d:.0e}", n, d, law(n, d) * math.exp(noise * rng.standard_normal()), "transformer") for n in sizes for d in lengths]


def test_planted_coefficients_are_found():
    found = fit(runs())
    for name in ("floor", "a", "alpha", "b", "beta"):
        assert getattr(found, name) == pytest.approx(getattr(CHINCHILLA, name), rel=0.02)
    assert found(1e9, 2e10) == pytest.approx(CHINCHILLA(1e9, 2e10), rel=1e-3)


def test_one_bad_run_does_not_move_the_law():
    """The Huber loss: with squares, one run that is 30% off shifts the prediction by several percent."""
    points = runs(noise=0.001)
    bad = points[5]
    points[5] = Point(bad.name, bad.parameters, bad.tokens, bad.loss * 1.3)
    assert fit(points)(2.56e8, 5e9) == pytest.approx(CHINCHILLA(2.56e8, 5e9), rel=0.02)


@pytest.mark.parametrize(("form", "sizes", "lengths"), [("parameters", SIZES, (3e8,)), ("tokens", (4e6,), LENGTHS)])
def test_of_one_size_or_one_length_one_term_is_told(form, sizes, lengths):
    points = runs(sizes=sizes, lengths=lengths)
    assert scaling.form_of(points) == form
    found = fit(points)
    assert found.form == form
    assert (found.a == 0) == (form == "tokens")
    for point in points:
        assert found(point.parameters, point.tokens) == pytest.approx(point.loss, rel=1e-3)


def test_the_gradient_is_the_objectives():
    rng = np.random.default_rng(1)
    sizes, tokens, losses = rng.normal(size=(3, 9))
    for form in ("both", "parameters", "tokens"):
        x = np.array([0.3, *rng.normal(size=2 * len(scaling.form_terms(form)))])
        _, gradient = scaling._huber(x, form, sizes, tokens, losses)
        for index in range(len(x)):
            step = np.zeros_like(x)
            step[index] = 1e-6
            higher, lower = (scaling._huber(x + side * step, form, sizes, tokens, losses)[0] for side in (1, -1))
            assert gradient[index] == pytest.approx((higher - lower) / 2e-6, rel=1e-4, abs=1e-4)


def test_the_interval_holds_the_truth_about_as_often_as_it_says(monkeypatch):
    monkeypatch.setattr(scaling, "DRAWS", 30)
    held, wide = 0, []
    for seed in range(8):
        points = runs(noise=0.01, seed=seed, sizes=SIZES[:3], lengths=LENGTHS[:3])
        found = predict(points, 6.4e7, 1.28e9)
        truth = CHINCHILLA(6.4e7, 1.28e9)
        held += found["low"] <= truth <= found["high"]
        wide.append(found["high"] / found["low"] - 1)
        assert found["low"] <= found["value"] <= found["high"]
    assert held >= 6  # 90% of 8 is 7
    assert 0.01 < float(np.median(wide)) < 0.3


def test_the_largest_run_is_predicted_by_the_others(monkeypatch):
    monkeypatch.setattr(scaling, "DRAWS", 20)
    found = held_out(runs(noise=0.002))
    assert found["run"] == "6e+07-1e+09"
    assert abs(found["error"]) < 0.02
    assert held_out(runs(sizes=SIZES[:2], lengths=LENGTHS[:3])[:5]) is None


def test_the_best_split_has_the_least_loss_of_its_operations():
    flops = 1e19
    parameters, tokens = CHINCHILLA.best_split(flops)
    assert 6 * parameters * tokens == pytest.approx(flops)
    for factor in (0.7, 1.4):
        assert CHINCHILLA(parameters * factor, tokens / factor) > CHINCHILLA(parameters, tokens)
    assert Law(1.0, 0.0, 0.0, 2.0, 0.3, "tokens").best_split(flops) is None


def test_too_few_runs_are_refused():
    with pytest.raises(RequestError, match=r"5 finished runs of 2 sizes.*got 3 runs, 1 sizes, 3 lengths"):
        fit(runs(sizes=SIZES[:1], lengths=LENGTHS[:3]))


def written(folder, name, parameters, tokens, loss, **changes):
    stage = folder / name
    stage.mkdir(parents=True)
    told = {"model": {"type": "transformer"}, "parameters": parameters, "steps": 10, "tokens": tokens, "stopped_early": False,
            "validations": [{"step": 5, "bits_per_byte": 9.0}, {"step": 10, "bits_per_byte": loss}], **changes}  # fmt: skip
    (stage / "training.json").write_text(json.dumps(told))


def test_runs_are_read_from_their_folders(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(scaling, "DRAWS", 20)
    grid = [(n, d) for n in SIZES[:3] for d in LENGTHS[:3]]
    for index, (n, d) in enumerate(grid):
        written(tmp_path / "一次运行", f"模型{index}", n, d, CHINCHILLA(n, d))
    written(tmp_path / "一次运行", "stopped", 1, 1, 1.0, stopped_early=True)
    written(tmp_path / "一次运行", "unfinished", 1, 1, 1.0, steps=12)
    points = points_of([tmp_path / "一次运行"])
    assert len(points) == 9
    assert points[0].name == "一次运行/模型0"
    assert main(["scaling", str(tmp_path / "一次运行"), "--parameters", "6.4e7", "--tokens", "1.28e9", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["prediction"]["value"] == pytest.approx(CHINCHILLA(6.4e7, 1.28e9), rel=1e-3)
    assert found["prediction"]["times_the_largest"] == pytest.approx(16)
    assert found["largest_left_out"]["error"] == pytest.approx(0, abs=1e-3)
    assert main(["scaling", str(tmp_path / "一次运行"), "--flops", "1e17"]) == 0
    shown = capsys.readouterr().out
    assert "L(N, D) = 1.69" in shown
    assert "模型8" in shown


def test_what_cannot_be_compared_is_refused(tmp_path):
    for index in range(5):
        written(tmp_path / "r", f"m{index}", 10**index, 10**index, 2.0)
    written(tmp_path / "r", "other", 5, 5, 2.0, model={"type": "lstm"})
    with pytest.raises(RequestError, match="one kind of model"):
        points_of([tmp_path / "r"])
    with pytest.raises(RequestError, match="no such folder"):
        points_of([tmp_path / "nothing"])
    with pytest.raises(RequestError, match="several sizes and lengths"):
        report(runs(sizes=SIZES, lengths=(3e8,)), flops=1e18)
