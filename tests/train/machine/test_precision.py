"""Formats: who computes in which, and who is refused."""

import pytest
import torch

from yanmo.core.errors import RequestError
from yanmo.train.machine import precision
from yanmo.train.settings import Train

CPU = torch.device("cpu")


@pytest.fixture
def gpu(monkeypatch):
    """As if there were a GPU of this compute capability."""

    def make(capability):
        monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device=None: capability)
        monkeypatch.setattr(torch.cuda, "get_device_name", lambda device=None: "A GPU")
        return torch.device("cuda")

    return make


def test_fp8_is_refused_where_nothing_multiplies_it(gpu):
    with pytest.raises(RequestError, match=r"train.precision: expected a GPU of compute capability 8.9 or later .* got a cpu - use bf16"):
        precision.check("fp8", CPU)
    with pytest.raises(RequestError, match=r"pretrain.train.precision: .* got A GPU, of compute capability 8.0"):
        precision.check("fp8", gpu((8, 0)), "pretrain.train")
    for capability in ((8, 9), (9, 0), (10, 0)):
        precision.check("fp8", gpu(capability))
    for form in ("fp32", "bf16", "fp16"):
        precision.check(form, CPU)


def test_a_recipe_that_asks_for_it_is_refused_before_any_work():
    from yanmo.train.plan.decisions import check_settings

    with pytest.raises(RequestError, match=r"8\.9 or later"):
        check_settings("pretrain", Train(precision="fp8"), None, None)


@pytest.mark.parametrize(("capability", "formats", "chosen"), [
    ((6, 1), ["fp32"], "fp32"), ((7, 5), ["fp16", "fp32"], "fp32"), ((8, 0), ["bf16", "fp32"], "bf16"), ((9, 0), ["bf16", "fp32"], "bf16"),
])  # fmt: skip
def test_what_is_timed_on_a_gpu(capability, formats, chosen, gpu):
    device = gpu(capability)
    assert precision.candidates(device) == formats
    assert precision.rule(device) == chosen


@pytest.mark.parametrize("form", precision.FORMATS)
def test_every_format_is_a_setting_and_has_a_reason(form):
    assert Train(precision=form).precision == form
    assert precision.why(form, CPU).render("en")
    with precision.autocast(form, CPU):
        assert torch.is_autocast_enabled("cpu") == (form != "fp32")
    assert (precision.scaler(form, CPU) is not None) == (form == "fp16")


def test_the_log_says_what_is_computed_in(job, capsys):
    from yanmo.core.console import Console
    from yanmo.train.loop import train

    made = job(steps=1, precision="fp16")
    made.console = Console()
    train(made)
    assert "training: float16 products with a scaled loss, float32 parameters" in capsys.readouterr().err
