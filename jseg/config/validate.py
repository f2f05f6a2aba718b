"""Checks every `dict(type=...)` of a config against the constructor it names, before anything is built."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from jseg.registry import Registry


def validate(cfg: Mapping[str, Any], registries: Mapping[str, Registry[Any]]) -> None:
    """Checks the typed parts of `cfg`.

    Args:
        cfg: the resolved config.
        registries: path pattern -> registry; "*" stands for any key of a dict, "#" for any item of a list,
            e.g. "dataset.*.pipeline.#" (a pipeline that is a dict of settings is judged by the dataset).

    Raises:
        ValueError: unknown type, unknown or missing argument, wrong type of value; names the config key and
            the nearest valid name.
    """
    for pattern, registry in registries.items():
        for where, part in _find(cfg, pattern.split("."), ()):
            if part is not None:
                registry.check(part, where)


def _find(value: Any, pattern: Sequence[str], path: tuple[str, ...]) -> Iterator[tuple[str, Any]]:
    if not pattern:
        yield ".".join(path), value
        return
    items: list[tuple[str, Any]] = []
    if isinstance(value, Mapping):
        items = [(key, item) for key, item in value.items() if pattern[0] in ("*", key)]
    elif isinstance(value, (list, tuple)) and pattern[0] == "#":
        items = [(str(index), item) for index, item in enumerate(value)]
    for key, item in items:
        yield from _find(item, pattern[1:], (*path, key))
