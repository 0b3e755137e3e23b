"""Rotary positions: a turn keeps lengths, what two positions say to each other depends on their distance alone, and every
way to stretch them is that of transformers."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from yanmo.core.config import build
from yanmo.core.errors import RecipeError
from yanmo.nn.rope import Rotary, Scaling, rotate


def test_products_depend_on_the_distance_alone():
    rotary = Rotary(8, 10_000.0)
    q, k = torch.randn(2, 1, 1, 1, 8, generator=torch.Generator().manual_seed(0))
    products = []
    for first in (0, 5, 40):
        turned = [rotate(x, *rotary(torch.tensor([[p]]))) for x, p in ((q, first + 7), (k, first))]
        products.append((turned[0] * turned[1]).sum())
        torch.testing.assert_close(turned[0].norm(), q.norm())
    torch.testing.assert_close(products[1:], [products[0]] * 2, rtol=1e-5, atol=1e-5)


def test_one_row_of_positions_serves_all_rows():
    rotary = Rotary(8, 100.0)
    x = torch.randn(2, 16, 3, 8, generator=torch.Generator().manual_seed(1))
    counted = torch.arange(16)[None]
    assert torch.equal(rotate(x, *rotary(counted)), rotate(x, *rotary(counted.expand(2, 16), 16)))
    assert torch.equal(rotate(x, *rotary(counted))[:, 0], x[:, 0])  # position 0 turns nothing


# ------------------------------------------------------------------------------------------------ stretched


def theirs(scaling: Scaling, size: int, theta: float, context: int, length: int) -> tuple[torch.Tensor, float]:
    from transformers import LlamaConfig
    from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS

    parameters = {"rope_type": scaling.type, "rope_theta": theta, "factor": scaling.factor,
                  "original_max_position_embeddings": scaling.trained or context}  # fmt: skip
    if scaling.type == "yarn":
        parameters |= {name: getattr(scaling, name) for name in ("beta_fast", "beta_slow", "truncate")}
        if scaling.attention_factor is not None:
            parameters["attention_factor"] = scaling.attention_factor
    if scaling.type == "llama3":
        parameters |= {name: getattr(scaling, name) for name in ("low_freq_factor", "high_freq_factor")}
    known = scaling.trained or context if scaling.type == "dynamic" else context  # theirs stretches from the config's context
    config = LlamaConfig(hidden_size=4 * size, num_attention_heads=4, head_dim=size, max_position_embeddings=known,
                         rope_parameters=parameters)  # fmt: skip
    return ROPE_INIT_FUNCTIONS[scaling.type](config, torch.device("cpu"), seq_len=length)


SIZES = {"size": st.sampled_from([8, 16, 32, 64, 80, 96, 128, 256]), "theta": st.sampled_from([1e3, 1e4, 5e5, 1e6]),
         "context": st.sampled_from([128, 512, 2048, 8192, 131_072]), "factor": st.sampled_from([1.0, 1.5, 2.0, 4.0, 8.0, 40.0])}  # fmt: skip


def same(scaling, size, theta, context, length):
    mine, sharper = Rotary(size, theta, scaling, context).frequencies(length)
    wanted, factor = theirs(scaling, size, theta, context, length)
    torch.testing.assert_close(mine, wanted, rtol=2e-6, atol=0)
    assert sharper == pytest.approx(factor)


@settings(max_examples=60, deadline=None)
@given(kind=st.sampled_from(["linear", "dynamic"]), times=st.sampled_from([0.5, 1, 2, 8]), **SIZES)
def test_linear_and_dynamic_are_transformers_at_every_size(kind, times, size, theta, context, factor):
    same(Scaling(type=kind, factor=factor), size, theta, context, int(context * times))


@settings(max_examples=80, deadline=None)
@given(trained=st.sampled_from([128, 1024, 4096, 32_768]), betas=st.sampled_from([(32.0, 1.0), (16.0, 2.0), (64.0, 0.5)]),
       truncate=st.booleans(), sharper=st.sampled_from([None, 0.0, 1.0, 1.25]), **SIZES)  # fmt: skip
def test_yarn_is_transformers_at_every_size(trained, betas, truncate, sharper, size, theta, context, factor):
    scaling = Scaling(type="yarn", factor=factor, trained=trained, beta_fast=betas[0], beta_slow=betas[1], truncate=truncate,
                      attention_factor=sharper)  # fmt: skip
    same(scaling, size, theta, context, context)


@settings(max_examples=60, deadline=None)
@given(trained=st.sampled_from([128, 1024, 8192]), bounds=st.sampled_from([(1.0, 4.0), (0.5, 2.0), (2.0, 32.0)]), **SIZES)
def test_llama3_is_transformers_at_every_size(trained, bounds, size, theta, context, factor):
    scaling = Scaling(type="llama3", factor=factor, trained=trained, low_freq_factor=bounds[0], high_freq_factor=bounds[1])
    same(scaling, size, theta, context, context)


def test_dynamic_leaves_texts_of_the_trained_length_as_they_are():
    plain, scaled = Rotary(32, 1e4), Rotary(32, 1e4, Scaling(type="dynamic", factor=4.0, trained=64))
    at = torch.arange(64)[None]
    torch.testing.assert_close(scaled(at), plain(at), rtol=1e-6, atol=1e-6)
    longer = scaled(torch.arange(256)[None])
    assert (longer[0][:, :64] - plain(at)[0]).abs().max() > 0.1
    torch.testing.assert_close(scaled(at), plain(at), rtol=1e-6, atol=1e-6)  # and again after a longer one


def test_a_text_seen_as_shorter_than_its_positions_keeps_its_frequencies():
    rotary = Rotary(32, 1e4, Scaling(type="dynamic", factor=4.0, trained=64))
    wanted = rotary.frequencies(100)[0]
    cos, _ = rotary(torch.arange(300)[None], 100, furthest=300)
    torch.testing.assert_close(cos[0, :, 0], (torch.arange(300.0)[:, None] * wanted).cos())


@pytest.mark.parametrize(
    ("kind", "option"), [("linear", {"trained": 64}), ("linear", {"beta_fast": 8.0}), ("dynamic", {"truncate": False}),
                         ("llama3", {"attention_factor": 1.5}), ("yarn", {"low_freq_factor": 2.0})],
)  # fmt: skip
def test_an_option_of_another_kind_is_refused(kind, option):
    with pytest.raises(RecipeError) as caught:
        build(Scaling, {"type": kind, "factor": 2.0, **option})
    assert f"without which '{next(iter(option))}' has no effect" in caught.value.render("en")
