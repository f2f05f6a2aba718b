"""Values that depend on parameters alone, kept between calls that need no gradient."""

from collections.abc import Callable, Hashable, Sequence

from jseg.runtime.backend import jt
from jseg.runtime.device import wanted_precision


class Remembered:
    """Keeps one value for each key until a tensor that it was made from is replaced or the precision changes.

    A tensor is replaced by an optimizer's step, and by loading weights. Jittor gives each value of a tensor a
    number that is never used again. Numbers that are written into the memory of a tensor (`x.data[...] = 0`)
    go unnoticed.
    """

    def __init__(self) -> None:
        self._kept: dict[Hashable, tuple[tuple[Hashable, ...], jt.Var]] = {}

    def __call__(self, key: Hashable, sources: Sequence[jt.Var], make: Callable[[], jt.Var]) -> jt.Var:
        """Returns the value of `make`, which is called if there is none from the same `sources`.

        Where gradients are computed, it is called each time.
        """
        if not jt.flags.no_grad:
            return make()
        origin = wanted_precision(), *(source.id for source in sources)
        known = self._kept.get(key)
        if known is None or known[0] != origin:
            known = self._kept[key] = origin, make()
        return known[1]
