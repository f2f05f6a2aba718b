"""Activation checkpointing: same values, the function is run again, and no activations are kept."""

import gc

import numpy as np
import pytest

from jseg.checkpoints import EncoderSizes
from jseg.models.backbones.region_bridge import RegionBridgeEncoder
from jseg.models.checkpointing import checkpointed
from jseg.runtime.backend import jt


def draw(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).standard_normal(shape).astype(np.float32)


def test_the_encoder_learns_the_same():
    """Features, and gradients of prompts, which enter between the blocks."""
    np.random.seed(0)
    jt.set_seed(0)
    encoder = RegionBridgeEncoder(EncoderSizes(3, 64, 8, 32), 2, (4, 4), num_prompts=2, num_regions=4)
    image, results = jt.array(draw(2, 3, 32, 32)), []
    names = sorted(encoder.trainable_parameters())
    for checkpoint in (False, True):
        encoder.checkpoint_blocks = checkpoint
        features = encoder(image)
        loss = sum(
            (x * jt.array(draw(*x.shape))).sum()
            for x in (features.image, features.global_feature, features.regions)
        )
        gradients = jt.grad(loss, [encoder.state_dict()[name] for name in names])
        results.append([features.image.numpy(), *(gradient.numpy() for gradient in gradients)])
    for name, kept, recomputed in zip(["features", *names], *results):
        assert np.abs(kept).max() > 0, name
        np.testing.assert_allclose(recomputed, kept, rtol=1e-5, atol=1e-5 * np.abs(kept).max(), err_msg=name)


@pytest.mark.parametrize("checkpoint, fewest, most", [(False, 48, 80), (True, 0, 40)])
def test_what_is_inside_is_not_kept(checkpoint, fewest, most):
    """Living Vars between the forward and the backward pass of 8
    functions of 6 operators, each of which keeps its input."""
    calls = []

    def function(x: jt.Var) -> jt.Var:
        calls.append(1)
        for _ in range(6):
            x = jt.sin(x)
        return x

    gc.collect()  # what earlier tests left would go at some moment in between
    jt.sync_all(True)
    before = jt.core.number_of_lived_vars()
    x = jt.array(draw(4, 8))
    result = x
    for _ in range(8):
        result = checkpointed(function, result) if checkpoint else function(result)
    result.sync()
    assert fewest <= jt.core.number_of_lived_vars() - before <= most
    (gradient,) = jt.grad(result.sum(), [x], retain_graph=False)
    values, slope = draw(4, 8).astype(np.float64), 1.0
    for _ in range(48):
        slope, values = slope * np.cos(values), np.sin(values)
    np.testing.assert_allclose(gradient.numpy(), slope, rtol=1e-4)
    assert len(calls) == (16 if checkpoint else 8)


def test_no_second_run_without_gradients():
    calls = []

    def function(x: jt.Var) -> jt.Var:
        calls.append(1)
        return x * 2

    with jt.no_grad():
        np.testing.assert_array_equal(checkpointed(function, jt.ones(3)).numpy(), [2, 2, 2])
    assert len(calls) == 1
