"""Registries of classes that configs refer to by name: `dict(type='AdamW', lr=1e-3)` -> `AdamW(lr=1e-3)`.

Each registry is defined next to the contract of its entries: `MODELS` in `jseg.models.segmentors.base`,
`BACKBONES`, `HEADS` and `LOSSES` in the `base` modules of their packages, `DATASETS` and `TRANSFORMS` in
`jseg.datasets`, `OPTIMIZERS` and `SCHEDULERS` in `jseg.optim.base`, and
`SINKS` in `jseg.runner.sinks`.
"""

import dataclasses
import inspect
import types
import typing
from collections.abc import Callable, Iterable, Mapping
from types import MappingProxyType
from typing import Any, Generic, TypeVar

from jseg.names import did_you_mean

T = TypeVar("T")
Entry = TypeVar("Entry", bound=Callable[..., Any])

_NAMED = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)


class Registry(Generic[T]):
    """A named table of classes and factory functions that configs refer to with `type`.

    Args:
        kind: what the entries are, for messages, e.g. "dataset".
        contract: class that every entry must be derived from. A function is accepted if its return annotation
            is such a class. None accepts anything.
        supplied: arguments that the code that builds these parts adds, so that a config need not set them.
    """

    def __init__(self, kind: str, contract: type[T] | None = None, supplied: Iterable[str] = ()) -> None:
        self.kind = kind
        self.supplied = tuple(supplied)
        self._contract = contract
        self._entries: dict[str, Callable[..., Any]] = {}
        self._moved: dict[str, Mapping[str, str]] = {}

    def __contains__(self, name: object) -> bool:
        return name in self._entries

    def names(self) -> list[str]:
        """Returns all registered names, sorted."""
        return sorted(self._entries)

    def register(
        self, name: str | None = None, moved: Mapping[str, str] = MappingProxyType({})
    ) -> Callable[[Entry], Entry]:
        """Returns a decorator that registers a class or function, under its own name unless `name` is given.

        Args:
            name: the value of `type` in configs.
            moved: arguments of an earlier version -> where they are set now, relative to the entry's dict.

        Raises:
            ValueError: if the name is taken by something else, or the entry does not fulfil the contract of
                this registry.
        """

        def enter(entry: Entry) -> Entry:
            key = name or entry.__name__
            if self._entries.get(key, entry) is not entry:
                raise ValueError(f"{self.kind} {key!r} is registered twice; give one of them another name")
            if self._contract is not None:
                problem = _broken_contract(entry, self._contract)
                if problem:
                    raise ValueError(f"{self.kind} {key!r} cannot be registered: {problem}")
            self._entries[key] = entry
            self._moved[key] = moved
            return entry

        return enter

    def get(self, name: Any, where: str = "") -> Callable[..., T]:
        """Returns the entry called `name`. `where` is the config key shown in an error.

        Raises:
            ValueError: if there is no such entry. The message suggests the nearest name.
        """
        if not isinstance(name, str) or name not in self._entries:
            raise ValueError(
                f"config key {_join(where or self.kind, 'type')}: unknown {self.kind} {name!r}"
                f"{did_you_mean(str(name), self._entries)}"
            )
        return self._entries[name]

    def parameters(self, name: str, where: str = "") -> Mapping[str, inspect.Parameter]:
        """Returns the constructor arguments that a config may set (without self, *args and **kwargs)."""
        return _parameters(self.get(name, where))

    def check(self, cfg: Any, where: str = "") -> None:
        """Checks `cfg` against the constructor that it names, without calling it.

        Args:
            cfg: a dict with `type` and constructor arguments. An argument annotated with a dataclass is a
                dict of its fields, which are checked too.
            where: path of `cfg` inside the config, for the message, e.g. "dataset.train".

        Raises:
            ValueError: if `cfg` is not a dict or has no `type`, the type is unknown, an argument is unknown
                or missing, or a value does not have the annotated type.
        """
        self._check(cfg, where or self.kind, self.supplied)

    def _check(self, cfg: Any, where: str, supplied: Iterable[str]) -> None:
        if not isinstance(cfg, Mapping) or "type" not in cfg:
            raise ValueError(
                f"config key {where}: expected dict(type='...', ...) naming a {self.kind}, got {cfg!r}"
                f"; known types: {', '.join(self.names())}"
            )
        entry = self.get(cfg["type"], where)
        arguments = {key: value for key, value in cfg.items() if key != "type"}
        self._refuse_moved(cfg["type"], arguments, where)
        _check_arguments(entry, str(cfg["type"]), arguments, where, supplied)

    def build(
        self,
        cfg: Mapping[str, Any],
        *,
        where: str = "",
        offered: Mapping[str, Any] | None = None,
        **extra: Any,
    ) -> T:
        """Calls the entry named by `cfg['type']` with the rest of `cfg`.

        Args:
            cfg: a dict with `type` and constructor arguments. It is not modified.
            where: path of `cfg` inside the config, for messages.
            offered: arguments that are passed only if the constructor accepts them and `cfg` does not set
                them.
            extra: arguments that override `cfg`.

        Raises:
            ValueError: as in `check`, or if the object built lacks an attribute of the contract.
        """
        where = where or self.kind
        self._check(cfg, where, [*extra, *(offered or {})])
        parameters = self.parameters(cfg["type"], where)
        arguments = {key: value for key, value in (offered or {}).items() if key in parameters}
        arguments.update((key, value) for key, value in cfg.items() if key != "type")
        arguments.update(extra)
        self._check({"type": cfg["type"], **arguments}, where, ())
        entry = self.get(cfg["type"], where)
        built = entry(**_with_dataclasses(entry, arguments))
        missing = [name for name in _attributes(self._contract) if not hasattr(built, name)]
        if missing:
            raise ValueError(
                f"config key {where}: {cfg['type']} has no attribute {', '.join(missing)}; set it in its "
                "constructor"
            )
        return built

    def _refuse_moved(self, name: str, arguments: Mapping[str, Any], where: str) -> None:
        moved = self._moved.get(name, {})
        found = [
            f"{_join(where, key)} is now {_join(where, moved[key])}" for key in arguments if key in moved
        ]
        if found:
            raise ValueError(f"config key {where}: {', '.join(found)}; change the config or --set")


def matches(value: Any, accepted: tuple[type, ...]) -> bool:
    """Whether a config value has one of the types. An int counts as a float, but a bool does not count as an
    int."""
    if isinstance(value, bool):
        return bool in accepted
    if isinstance(value, int) and float in accepted:
        return True
    return isinstance(value, accepted)


def _broken_contract(entry: Callable[..., Any], contract: type) -> str:
    """Returns the reason why an entry does not fulfil a contract, or ''."""
    base = f"{contract.__module__}.{contract.__qualname__}"
    made = entry if isinstance(entry, type) else _hints(entry).get("return")
    if not (isinstance(made, type) and issubclass(made, contract)):
        return f"derive its class from {base}, or annotate the function with the class it returns"
    missing = [
        method
        for method in dir(contract)
        if getattr(getattr(made, method, None), "__isabstractmethod__", False)
    ]
    if missing:
        return f"{base} requires {', '.join(missing)}"
    for method, wanted in vars(contract).items():
        if inspect.isfunction(wanted) and method != "__init__":
            own = getattr(made, method)
            if not _takes(own, wanted):
                return (
                    f"{method}{inspect.signature(own)} does not take the arguments that {base}.{method} names"
                )
    return ""


def _takes(own: Callable[..., Any], wanted: Callable[..., Any]) -> bool:
    """Whether a method accepts every call that the base method accepts: the same names in the same order, and
    defaults for additional arguments."""
    have = list(inspect.signature(own).parameters.values())
    need = list(inspect.signature(wanted).parameters.values())
    if any(item.kind is item.VAR_POSITIONAL for item in have):
        return True
    same = [item.name for item in have[: len(need)]] == [item.name for item in need]
    optional = all(
        item.default is not item.empty or item.kind is item.VAR_KEYWORD for item in have[len(need) :]
    )
    return same and optional


def _attributes(contract: type | None) -> list[str]:
    """Attributes that a contract declares but does not define."""
    if contract is None:
        return []
    return [name for name in inspect.get_annotations(contract) if name not in vars(contract)]


def _parameters(entry: Callable[..., Any]) -> dict[str, inspect.Parameter]:
    signature = inspect.signature(entry)
    return {key: value for key, value in signature.parameters.items() if value.kind in _NAMED}


def _hints(entry: Callable[..., Any]) -> dict[str, Any]:
    """Annotations of a constructor or function, or none if only a type checker can resolve them."""
    try:
        return typing.get_type_hints(entry.__init__ if isinstance(entry, type) else entry)  # type: ignore[misc]
    except (NameError, TypeError):
        return {}


def _check_arguments(
    entry: Callable[..., Any], name: str, arguments: Mapping[str, Any], where: str, supplied: Iterable[str]
) -> None:
    """Checks names, presence and types of the arguments of one call, and of nested dataclass arguments."""
    parameters, hints = _parameters(entry), _hints(entry)
    kinds = [value.kind for value in inspect.signature(entry).parameters.values()]
    for key, value in arguments.items():
        if key not in parameters:
            if inspect.Parameter.VAR_KEYWORD in kinds:
                continue
            raise ValueError(
                f"config key {_join(where, key)}: {name} has no argument {key!r}"
                f"{did_you_mean(key, parameters)}"
            )
        part = _dataclass_of(hints.get(key))
        if part is not None and isinstance(value, Mapping):
            _check_arguments(part, part.__name__, value, _join(where, key), ())
            continue
        accepted = _simple_types(hints.get(key))
        if accepted and not matches(value, accepted):
            names = " or ".join("None" if item is type(None) else item.__name__ for item in accepted)
            raise ValueError(f"config key {_join(where, key)}: expected {names}, got {value!r}")
    given = {*arguments, *supplied}
    missing = [key for key, value in parameters.items() if value.default is value.empty and key not in given]
    if missing:
        raise ValueError(
            f"config key {where}: {name} needs {', '.join(missing)}; add {_join(where, missing[0])}"
        )


def _with_dataclasses(entry: Callable[..., Any], arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Returns `arguments` with the dicts of dataclass arguments turned into instances."""
    hints = _hints(entry)
    built = dict(arguments)
    for key, value in arguments.items():
        part = _dataclass_of(hints.get(key))
        if part is not None and isinstance(value, Mapping):
            built[key] = part(**value)
    return built


def _alternatives(hint: Any) -> tuple[Any, ...]:
    union = typing.get_origin(hint) in (typing.Union, types.UnionType)
    return typing.get_args(hint) if union else (hint,)


def _dataclass_of(hint: Any) -> type | None:
    """Returns the dataclass in an annotation, or None."""
    found = (
        part for part in _alternatives(hint) if isinstance(part, type) and dataclasses.is_dataclass(part)
    )
    return next(found, None)


def _simple_types(hint: Any) -> tuple[type, ...]:
    """Types in an annotation that consists of int, float, bool, str, None and dataclasses; otherwise
    empty."""
    parts = _alternatives(hint)
    simple = (int, float, bool, str, type(None))
    if all(part in simple or _dataclass_of(part) is not None for part in parts):
        return tuple(parts)
    return ()


def _join(where: str, key: str) -> str:
    return f"{where}.{key}" if where else key
