"""Energy from counters that the test writes, from processor time, and carbon from what a country's electricity holds."""

import time

import pytest

from yanmo.core import energy
from yanmo.core.energy import Meter, carbon, check_country, weaker
from yanmo.core.errors import RequestError


@pytest.fixture
def counters(monkeypatch, tmp_path):
    """Files as the kernel shows them: `counters({"intel-rapl:0": microjoules})`."""
    monkeypatch.setattr(energy, "COUNTERS", tmp_path)

    def write(values, limit=1_000_000_000):
        for name, value in values.items():
            (tmp_path / name).mkdir(exist_ok=True)
            (tmp_path / name / "energy_uj").write_text(f"{value}\n")
            (tmp_path / name / "max_energy_range_uj").write_text(f"{limit}\n")

    write({})
    return write


def test_counters_are_measured(counters):
    counters({"intel-rapl:0": 10_000_000, "intel-rapl:1": 700_000_000, "intel-rapl:0:0": 5_000_000})
    meter = Meter()
    counters({"intel-rapl:0": 22_000_000, "intel-rapl:1": 703_000_000, "intel-rapl:0:0": 50_000_000})
    found = meter.read()
    assert (found["joules"], found["method"]) == (15.0, "measured")  # a part of a package counts in its package


def test_a_counter_that_begins_again_goes_on(counters):
    counters({"intel-rapl:0": 999_000_000})
    meter = Meter()
    for value in (4_000_000, 900_000_000, 5_000_000):
        counters({"intel-rapl:0": value})
        found = meter.read()
    assert found["joules"] == pytest.approx(5 + 896 + 105)
    assert found["method"] == "measured"


def test_after_a_long_silence_a_counter_is_not_sure(counters, monkeypatch):
    counters({"intel-rapl:0": 0})
    meter = Meter()
    now = time.monotonic()
    monkeypatch.setattr(energy.time, "monotonic", lambda: now + 3600)  # 1,000 J are passed in seconds
    assert meter.read()["method"] == "estimated"


def test_dies_that_show_one_counter_count_once(counters):
    counters({f"intel-rapl:{die}": 50_000_000 + die for die in range(4)})
    meter = Meter()
    counters({f"intel-rapl:{die}": 60_000_000 + die for die in range(4)})
    assert meter.read()["joules"] == 10.0


def test_without_counters_processor_time_is_an_estimate(counters):
    meter = Meter()
    begun = time.process_time()
    while time.process_time() - begun < 0.05:
        pass
    found = meter.read()
    assert found["method"] == "estimated"
    assert 0.03 * energy.WATTS < found["joules"] < 20 * energy.WATTS
    assert found["joules"] == pytest.approx(found["cpu_seconds"] * energy.WATTS, abs=0.06)


def test_a_gpu_that_tells_nothing_makes_the_whole_unknown(counters):
    found = Meter(["GPU-00000000-0000-0000-0000-000000000000"]).read()
    assert (found["joules"], found["method"]) == (None, "unknown")


def test_of_two_methods_the_weaker_counts():
    assert [weaker("measured", other) for other in energy.METHODS] == list(energy.METHODS)
    assert weaker("unknown", "estimated") == "unknown"


def test_carbon_is_the_countrys():
    pytest.importorskip("codecarbon")
    china, france = (carbon(3.6e6, code) for code in ("CHN", "fra"))
    assert china["grams"] == china["grams_per_kwh"] > 5 * france["grams"] > 0
    assert (france["country"], france["source"].split()[0]) == ("FRA", "codecarbon")
    assert carbon(3.6e6, None) == carbon(None, "CHN") == {}
    check_country("chn", "train.country")
    with pytest.raises(RequestError, match=r"train.country: expected a country's ISO 3166 code .* got CNH - did you mean 'CHN'"):
        check_country("CNH", "train.country")


def test_the_environment_names_the_country(monkeypatch):
    monkeypatch.delenv("YANMO_COUNTRY", raising=False)
    assert energy.country() is None
    monkeypatch.setenv("YANMO_COUNTRY", "DEU")
    assert energy.country() == "DEU"
