"""Recovery losses: the recovery decoder's output against the original features (paper, Eq. 10, Table 8)."""

from jseg.ops import mean_difference
from jseg.runtime.backend import jt

RECOVERY_LOSSES = ("l1", "l2", "kd")


def recovery_loss(recovered: jt.Var, target: jt.Var, kind: str = "l1", temperature: float = 1.0) -> jt.Var:
    """Distance of recovered features from detached target features.

    Args:
        recovered: (B, L, c).
        target: (B, L, c); detached here.
        kind: 'l1': mean absolute difference, 'l2': mean squared difference, 'kd': τ²·KL(t ‖ r) per token,
            where t and r are the softmax over channels of target/τ and recovered/τ, mean over tokens. The
            paper gives no formula for its KD loss; this is that of Hinton et al. with features instead of
            class scores.
        temperature: τ of 'kd', > 0.

    Returns:
        () scalar.

    Raises:
        ValueError: if the kind is unknown or the temperature is not positive.
    """
    if kind in ("l1", "l2"):
        return mean_difference(recovered, target, 1 if kind == "l1" else 2)
    if kind != "kd":
        raise ValueError(f"recovery_loss is '{kind}': it must be one of {', '.join(RECOVERY_LOSSES)}")
    if temperature <= 0:
        raise ValueError(f"the temperature of the kd recovery loss is {temperature}: it must be positive")
    log_t, log_r = (_log_softmax(x / temperature) for x in (target.detach(), recovered))
    # Axis by axis: one float32 sum over all tokens would lose digits.
    return (log_t.exp() * (log_t - log_r)).sum(-1).mean(1).mean() * temperature**2


def _log_softmax(x: jt.Var) -> jt.Var:
    x = x - x.max(-1, keepdims=True).detach()
    return x - x.exp().sum(-1, keepdims=True).log()
