"""AdamW against float64 numpy, multipliers, state, and the schedule by hand."""

import numpy as np
import pytest

from jseg.optim import AdamW, WarmupPoly
from jseg.optim.adamw import multiplier
from jseg.runtime.backend import jt

LR, DECAY, BETAS, EPS = 0.05, 0.1, (0.9, 0.99), 1e-8


def adamw_reference(value, target, lr, decay, start, steps):
    """torch.optim.AdamW's formula in float64 on the loss sum((p - target)^2); returns p after `steps`."""
    mean, square = np.zeros_like(value), np.zeros_like(value)
    for n in range(1, steps + 1):
        gradient = 2 * (value - target)
        rate = lr * start(n - 1)
        value = value - rate * decay * value
        mean = BETAS[0] * mean + (1 - BETAS[0]) * gradient
        square = BETAS[1] * square + (1 - BETAS[1]) * gradient**2
        denominator = np.sqrt(square) / np.sqrt(1 - BETAS[1] ** n) + EPS
        value = value - rate / (1 - BETAS[0] ** n) * mean / denominator
    return value


def make(seed=0):
    rng = np.random.default_rng(seed)
    values = {name: rng.normal(size=(3, 2)) for name in ("backbone.a", "decode_head.norm", "other.norm")}
    targets = {name: rng.normal(size=(3, 2)) for name in values}
    parameters = {name: jt.array(value.astype(np.float32)) for name, value in values.items()}
    optimizer = AdamW(
        parameters,
        LR,
        DECAY,
        BETAS,
        EPS,
        lr_mult={"backbone": 10.0, "norm": 0.5},
        decay_mult={"norm": 0.0, "decode_head": 2.0},
    )
    return values, targets, optimizer


def run(optimizer, targets, first, last):
    for step in range(first, last):
        loss = sum(
            ((optimizer.parameters[name] - jt.array(target.astype(np.float32))).sqr()).sum()
            for name, target in targets.items()
        )
        optimizer.step(loss, lambda base, step=step: base * (1 - 0.1 * step))
        jt.sync_all()


def test_adamw_follows_the_reference_with_multipliers_and_schedule():
    values, targets, optimizer = make()
    run(optimizer, targets, 0, 6)
    factors = {"backbone.a": (10.0, 1.0), "decode_head.norm": (0.5, 2.0), "other.norm": (0.5, 0.0)}
    for name, (lr_factor, decay_factor) in factors.items():
        expected = adamw_reference(
            values[name], targets[name], LR * lr_factor, DECAY * decay_factor, lambda step: 1 - 0.1 * step, 6
        )
        np.testing.assert_allclose(
            optimizer.parameters[name].numpy(), expected, rtol=2e-5, atol=2e-6, err_msg=name
        )


def test_state_moved_to_a_new_optimizer_continues_exactly():
    _, targets, straight = make()
    run(straight, targets, 0, 3)
    arrays = straight.state()
    parameters = {name: jt.array(value.numpy()) for name, value in straight.parameters.items()}
    moved = AdamW(
        parameters,
        LR,
        DECAY,
        BETAS,
        EPS,
        lr_mult={"backbone": 10.0, "norm": 0.5},
        decay_mult={"norm": 0.0, "decode_head": 2.0},
    )
    moved.load_state(arrays)
    run(straight, targets, 3, 5)
    run(moved, targets, 3, 5)
    assert set(arrays) == {"optimizer.steps"} | {
        f"optimizer.{kind}.{name}" for kind in ("exp_avg", "exp_avg_sq") for name in parameters
    }
    for name in parameters:
        np.testing.assert_array_equal(moved.parameters[name].numpy(), straight.parameters[name].numpy())
    with pytest.raises(ValueError, match=r"\boptimizer\.\w+.*\b7\b"):
        moved.load_state({})


def test_parameters_still_learn_after_eval_and_train():
    """Jittor's Module.eval() stops gradients of every parameter;
    train() must give them back to the optimizer."""
    layer = jt.nn.Linear(2, 1)
    optimizer = AdamW({"weight": layer.weight}, 0.1)
    before = layer.weight.numpy().copy()
    layer.eval()
    layer.train()
    optimizer.step(layer(jt.ones((1, 2))).sum(), lambda base: base)
    assert np.all(layer.weight.numpy() < before)


def test_the_longest_key_wins_and_ties_are_alphabetical():
    table = {"norm": 2.0, "backbone": 10.0, "bias": 4.0, "head": 5.0}
    assert multiplier("backbone.norm.weight", table) == 10.0
    assert multiplier("norm.bias", table) == 4.0  # 'bias' before 'norm', both of 4 letters
    assert multiplier("decode_head.bias", table) == 4.0  # 'bias' before 'head'
    assert multiplier("text.weight", table) == 1.0


@pytest.mark.parametrize(
    "options, message",
    [
        (dict(lr_mult={"bakbone": 2.0}), r"\bbakbone\b.*\bbackbone\b"),
        (dict(decay_mult={"backbone": -1.0}), r"\bdecay_mult\b.*-1\.0\b"),
        (dict(betas=(0.9, 1.0)), "betas"),
        (dict(weight_decay=-0.1), "weight_decay"),
    ],
)
def test_wrong_options_are_explained(options, message):
    with pytest.raises(ValueError, match=message):
        AdamW({"backbone.a": jt.zeros((2,))}, 0.1, **options)


def test_schedule_by_hand():
    schedule = WarmupPoly(max_iters=100, power=2.0, min_lr=0.1, warmup_iters=10, warmup_ratio=0.2)
    assert schedule(1.1, 0) == pytest.approx(1.1 * 0.2)
    # t = 5: (1.1 - 0.1) * 0.95^2 + 0.1 = 1.0025; warm-up 1 - 0.5 * 0.8 = 0.6
    assert schedule(1.1, 5) == pytest.approx(1.0025 * 0.6)
    assert schedule(1.1, 10) == pytest.approx(0.81 + 0.1)
    assert schedule(1.1, 50) == pytest.approx(0.25 + 0.1)
    assert schedule(1.1, 100) == pytest.approx(0.1)


def test_schedule_of_the_releases():
    """VOC: group rate 2e-4; at iteration 20,000 of 40,000: (2e-4 - 1e-6) * 0.5^0.9 + 1e-6."""
    schedule = WarmupPoly(max_iters=40000)
    assert schedule(2e-4, 0) == pytest.approx(2e-10)
    assert schedule(2e-4, 20000) == pytest.approx(1.0764e-4, rel=1e-4)
    assert WarmupPoly(max_iters=10, warmup_iters=0)(1.0, 0) == 1.0
    with pytest.raises(ValueError, match="warmup_ratio"):
        WarmupPoly(max_iters=10, warmup_ratio=2.0)
