"""Names in configs -> classes and factory functions: `dict(type='AdamW', lr=1e-3)` -> `AdamW(lr=1e-3)`.

What the entries of each registry accept and return:

- `MODELS`: `jseg.models.segmentors.base.Segmentor`; the runner offers `class_names`, `unseen` and
  `image_size`.
- `DATASETS`: `jseg.datasets.base.Dataset`; offered `seed` and `data_root`.
- `TRANSFORMS`: steps of a dataset's pipeline.
- `OPTIMIZERS`: `jseg.optim.base.Optimizer`; gets `parameters` (name -> Var) from the runner.
- `SCHEDULERS`: get `max_iters` from the runner; callable `(base_lr, iteration) -> lr`.
"""

import inspect
import types
import typing
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from jseg.names import did_you_mean


class Registry:
    """A named table of classes and factory functions that configs refer to with `type`."""

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self._entries: dict[str, Callable[..., Any]] = {}
        self._contract: type | None = None

    def __contains__(self, name: object) -> bool:
        return name in self._entries

    def names(self) -> list[str]:
        """All registered names, sorted."""
        return sorted(self._entries)

    def require(self, contract: type) -> None:
        """From now on entries must be classes derived from `contract`, with all of its abstract methods, or
        functions whose annotation says that they return one.

        Raises:
            ValueError: an entry that is there already does not fulfil it.
        """
        self._contract = contract
        for name, entry in self._entries.items():
            self._check_contract(name, entry)

    def _check_contract(self, name: str, entry: Callable[..., Any]) -> None:
        contract = self._contract
        if contract is None:
            return
        base = f"{contract.__module__}.{contract.__qualname__}"
        made = entry if isinstance(entry, type) else _returned(entry)
        if not (isinstance(made, type) and issubclass(made, contract)):
            raise ValueError(
                f"{self.kind} {name!r} cannot be registered: derive its class from {base}, or annotate the "
                "function with the class that it returns"
            )
        missing = [
            method
            for method in dir(contract)
            if getattr(getattr(made, method, None), "__isabstractmethod__", False)
        ]
        if missing:
            raise ValueError(
                f"{self.kind} {name!r} cannot be registered: {base} asks for {', '.join(missing)}"
            )

    def register(self, name: str | None = None) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
        """Decorator that enters a class or function, under its own name unless `name` is given.

        Raises:
            ValueError: the name is taken by something else, or the entry does not fulfil the contract of this
                registry.
        """

        def enter(entry: Callable[..., Any]) -> Callable[..., Any]:
            key = name or entry.__name__
            if self._entries.get(key, entry) is not entry:
                raise ValueError(f"{self.kind} {key!r} is registered twice; give one of them another name")
            self._check_contract(key, entry)
            self._entries[key] = entry
            return entry

        return enter

    def get(self, name: Any, where: str = "") -> Callable[..., Any]:
        """The entry called `name`; `where` is the config key shown in the error.

        Raises:
            ValueError: no such entry; names the nearest one.
        """
        if not isinstance(name, str) or name not in self._entries:
            raise ValueError(
                f"config key {_join(where or self.kind, 'type')}: unknown {self.kind} {name!r}"
                f"{did_you_mean(str(name), self._entries)}"
            )
        return self._entries[name]

    def parameters(self, name: str, where: str = "") -> Mapping[str, inspect.Parameter]:
        """Constructor arguments of an entry that a config may name (without self, *args and **kwargs)."""
        named = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
        signature = inspect.signature(self.get(name, where))
        return {key: value for key, value in signature.parameters.items() if value.kind in named}

    def check(self, cfg: Any, where: str = "", supplied: Iterable[str] = ()) -> None:
        """Checks `cfg` against the constructor it names, without calling it.

        Args:
            cfg: a dict with `type` and constructor arguments.
            where: path of `cfg` inside the config, for the message, e.g. "dataset.train".
            supplied: arguments that the caller will add, hence not missing.

        Raises:
            ValueError: no dict, no `type`, unknown type, unknown or missing argument, or a value of another
                type than the constructor's annotation says.
        """
        where = where or self.kind
        if not isinstance(cfg, Mapping) or "type" not in cfg:
            raise ValueError(
                f"config key {where}: expected dict(type='...', ...) naming a {self.kind}, got {cfg!r}"
                f"; known types: {', '.join(self.names())}"
            )
        parameters = self.parameters(cfg["type"], where)
        arguments = [key for key in cfg if key != "type"]
        for key in arguments:
            if key not in parameters and not self._accepts_any(cfg["type"]):
                raise ValueError(
                    f"config key {_join(where, key)}: {cfg['type']} has no argument {key!r}"
                    f"{did_you_mean(key, parameters)}"
                )
        given = set(arguments) | set(supplied)
        missing = [
            key for key, value in parameters.items() if value.default is value.empty and key not in given
        ]
        if missing:
            raise ValueError(
                f"config key {where}: {cfg['type']} needs {', '.join(missing)}"
                f"; add {_join(where, missing[0])}"
            )
        self._check_types(cfg, where)

    def build(
        self,
        cfg: Mapping[str, Any],
        *,
        where: str = "",
        offered: Mapping[str, Any] | None = None,
        **extra: Any,
    ) -> Any:
        """Calls the entry named by `cfg['type']` with the rest of `cfg`.

        Args:
            cfg: a dict with `type` and constructor arguments; not changed.
            where: path of `cfg` inside the config, for messages.
            offered: arguments used only if the constructor has them and `cfg` does not set them.
            extra: arguments that win over `cfg`.

        Raises:
            ValueError: see `check`.
        """
        self.check(cfg, where, supplied=list(extra) + list(offered or {}))
        parameters = self.parameters(cfg["type"], where)
        arguments = {key: value for key, value in (offered or {}).items() if key in parameters}
        arguments.update((key, value) for key, value in cfg.items() if key != "type")
        arguments.update(extra)
        self.check({"type": cfg["type"], **arguments}, where)
        return self.get(cfg["type"], where)(**arguments)

    def _accepts_any(self, name: str) -> bool:
        kinds = [value.kind for value in inspect.signature(self._entries[name]).parameters.values()]
        return inspect.Parameter.VAR_KEYWORD in kinds

    def _check_types(self, cfg: Mapping[str, Any], where: str) -> None:
        entry = self._entries[cfg["type"]]
        try:
            hints = typing.get_type_hints(entry.__init__ if inspect.isclass(entry) else entry)
        except (NameError, TypeError):  # annotations that only a type checker can resolve
            return
        for key, value in cfg.items():
            accepted = _simple_types(hints.get(key))
            if key != "type" and accepted and not matches(value, accepted):
                names = " or ".join("None" if item is type(None) else item.__name__ for item in accepted)
                raise ValueError(f"config key {_join(where, key)}: expected {names}, got {value!r}")


def matches(value: Any, accepted: tuple[type, ...]) -> bool:
    """Whether a config value is of one of the types; an int is a float, a bool is not an int."""
    if isinstance(value, bool):
        return bool in accepted
    if isinstance(value, int) and float in accepted:
        return True
    return isinstance(value, accepted)


def _returned(function: Callable[..., Any]) -> Any:
    """What the annotation of a function says that it returns; None if there is none that can be read."""
    try:
        return typing.get_type_hints(function).get("return")
    except (NameError, TypeError):
        return None


def _simple_types(hint: Any) -> tuple[type, ...]:
    """The types of an annotation made of int, float, bool, str and None; empty if it says anything else."""
    union = typing.get_origin(hint) in (typing.Union, types.UnionType)
    parts = typing.get_args(hint) if union else (hint,)
    simple = (int, float, bool, str, type(None))
    return tuple(parts) if all(part in simple for part in parts) else ()


def _join(where: str, key: str) -> str:
    return f"{where}.{key}" if where else key


MODELS = Registry("model")
DATASETS = Registry("dataset")
TRANSFORMS = Registry("transform")
OPTIMIZERS = Registry("optimizer")
SCHEDULERS = Registry("scheduler")
