"""Python config files with inheritance through `_base_`, overrides, and a dump of the resolved config.

Each file is executed in a fresh namespace. It defines top-level variables (`model = dict(...)`,
`max_iters = 2000`; see `jseg.config.schema`). `_base_` names one file or a list of files, relative to the
file that contains it. Dicts are merged key by key: later bases override earlier ones, and the file itself
overrides all of its bases. A dict with `_delete_=True` replaces the inherited one instead. Variables that
begin with an underscore, imported modules, functions and classes are local to the file.
"""

import copy
import inspect
import os
import pprint
import traceback
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from jseg.config.overrides import apply_overrides
from jseg.config.schema import PLAIN_PARTS, TOP_LEVEL, KeyProblem, check_keys
from jseg.files import PathLike
from jseg.names import did_you_mean
from jseg.registry import Registry

_SOURCE = "# Source: "
_LITERALS = (str, int, float, bool, type(None))


class Config(dict[str, Any]):
    """The resolved config: a dict whose top-level keys are also attributes. Nested values are plain dicts.

    `cfg.max_itres` raises `AttributeError`, and `cfg['max_itres']` raises `KeyError`. Both suggest the
    nearest key.
    """

    filename: str | None = None

    def __getattr__(self, name: str) -> Any:
        if name in self:
            return self[name]
        raise AttributeError(f"config has no key {name!r}{did_you_mean(name, self)}")

    def __missing__(self, name: str) -> Any:
        raise KeyError(f"config has no key {name!r}{did_you_mean(name, self)}")

    @classmethod
    def load(
        cls,
        path: PathLike,
        overrides: Sequence[str] = (),
        registries: Mapping[str, Registry[Any]] | None = None,
    ) -> "Config":
        """Reads a config file and everything it inherits, applies `overrides` and fills in defaults.

        Args:
            path: the config file.
            overrides: strings like "model.backbone.num_regions=4". Values are Python literals, or else
                strings.
            registries: if given, `jseg.config.validate` runs too.

        Raises:
            FileNotFoundError: if the file or a base is missing.
            ValueError: if the file fails to run (the message gives file and line), its bases form a cycle, or
                a key is unknown.
        """
        path = _absolute(path)
        values = _resolve(path, ())
        for name, key in TOP_LEVEL.items():
            if isinstance(key.default, dict):  # so that overrides can set its keys
                values.setdefault(name, copy.deepcopy(key.default))
        apply_overrides(values, overrides)
        config = cls.from_dict(values, str(path), overrides)
        if registries is not None:
            from jseg.config.validate import validate

            validate(config, registries)
        return config

    @classmethod
    def from_dict(
        cls, values: Mapping[str, Any], filename: str | None = None, overrides: Sequence[str] = ()
    ) -> "Config":
        """Checks the top-level keys of a plain dict and fills in defaults.

        Args:
            filename, overrides: where the values came from, for error messages. The overrides have already
                been applied.

        Raises:
            ValueError: if keys are unknown or missing, or a value cannot be written in a config file.
        """
        origin = f" in {filename}" if filename else ""
        try:
            check_keys(values, TOP_LEVEL)
            for name, keys in PLAIN_PARTS.items():
                check_keys(values.get(name) or {}, keys, name)
        except KeyProblem as error:
            given = [
                text
                for text in overrides
                if (text.partition("=")[0].strip() + ".").startswith(error.key + ".")
            ]
            raise ValueError(f"{error}{f'; correct --set {given[-1]}' if given else origin}") from None
        for name, key in TOP_LEVEL.items():
            if key.required and name not in values:
                raise ValueError(
                    f"config key {name}: missing{origin}; set it there or inherit it with _base_"
                )
        config = cls()
        config.filename = filename
        for name, key in TOP_LEVEL.items():
            value = copy.deepcopy(values.get(name, key.default))
            defaults = {
                sub: item.default for sub, item in PLAIN_PARTS.get(name, {}).items() if name != "dataset"
            }
            config[name] = {**defaults, **value} if defaults else value
            _check_literal(config[name], name)
        return config

    def text(self) -> str:
        """The resolved config as the text of a standalone config file."""
        blocks = [
            f"{name} = {pprint.pformat(value, width=110, sort_dicts=False)}\n" for name, value in self.items()
        ]
        return "".join(blocks)

    def dump(self, path: PathLike) -> None:
        """Writes `text()` to `path`, with the name of the file that it was read from; see `dumped_from`.

        Raises:
            OSError: if the file cannot be written.
        """
        text = "# Resolved config, written by jseg; can be run again unchanged.\n"
        if self.filename and "\n" not in self.filename:
            text += f"{_SOURCE}{self.filename}\n"
        Path(path).write_text(text + self.text(), encoding="utf-8")


def dumped_from(path: PathLike) -> Path | None:
    """Returns the config file that a file written by `Config.dump` names as its source, or None."""
    with Path(path).open(encoding="utf-8", errors="replace") as file:
        for line in file:
            if not line.startswith("#"):
                break
            if line.startswith(_SOURCE):
                return Path(line.removeprefix(_SOURCE).rstrip("\n"))
    return None


def merge(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """Merges two dicts recursively into a new one. `_delete_=True` in a dict of `over` drops its base."""
    merged = copy.deepcopy(dict(base))
    for key, value in over.items():
        if isinstance(value, Mapping):
            replace = value.get("_delete_", False)
            own = {name: item for name, item in value.items() if name != "_delete_"}
            inherited = merged.get(key)
            start = inherited if isinstance(inherited, Mapping) and not replace else {}
            merged[key] = merge(start, own)
        else:
            merged[key] = copy.deepcopy(value)
    return merged


def _absolute(path: PathLike) -> Path:
    """The absolute path, without `..`. Symbolic links are kept, since bases are relative to the given
    name."""
    return Path(os.path.normpath(Path(path).absolute()))


def _resolve(path: Path, parents: tuple[Path, ...]) -> dict[str, Any]:
    if path in parents:
        chain = " -> ".join(item.name for item in (*parents[parents.index(path) :], path))
        raise ValueError(
            f"config {path}: _base_ leads back to the file itself ({chain}); remove one of the links"
        )
    if not path.is_file():
        inherited = f", named by _base_ in {parents[-1]}" if parents else ""
        raise FileNotFoundError(f"config file {path} does not exist{inherited}; correct the path")
    own = _execute(path)
    bases = own.pop("_base_", [])
    bases = [bases] if isinstance(bases, str) else bases
    if not isinstance(bases, (list, tuple)) or not all(isinstance(base, str) for base in bases):
        raise ValueError(f"config {path}: _base_ must be a file name or a list of file names, got {bases!r}")
    values: dict[str, Any] = {}
    for base in bases:
        values = _inherit(values, _resolve(_absolute(path.parent / base), (*parents, path)))
    return _inherit(values, own)


def _inherit(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """`merge` for two config files. `imports` are joined, since the parts of a base need its plug-ins."""
    merged, lists = merge(base, over), [values.get("imports", []) for values in (base, over)]
    if all(isinstance(names, (list, tuple)) for names in lists) and any(lists):
        merged["imports"] = list(dict.fromkeys(name for names in lists for name in names))
    return merged


def _execute(path: Path) -> dict[str, Any]:
    """Runs one config file and returns its public variables and `_base_`."""
    try:
        source = path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise ValueError(f"config {path} is not UTF-8 text ({error.reason}); is it a config file?") from error
    namespace: dict[str, Any] = {"__file__": str(path), "__name__": "__jseg_config__"}
    try:
        exec(compile(source, str(path), "exec"), namespace)
    except SyntaxError as error:
        raise ValueError(f"config {path}, line {error.lineno}: {error.msg}; correct the file") from error
    except Exception as error:
        lines = [
            frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == str(path)
        ]
        raise ValueError(
            f"config {path}, line {lines[-1] if lines else '?'}: {type(error).__name__}: {error}"
            "; correct the file"
        ) from error

    def is_setting(name: str, value: Any) -> bool:
        helper = inspect.ismodule(value) or inspect.isroutine(value) or inspect.isclass(value)
        return name == "_base_" or not (name.startswith("_") or helper)

    return {name: value for name, value in namespace.items() if is_setting(name, value)}


def _check_literal(value: Any, where: str) -> None:
    """Refuses values that the dumped config could not contain, so that every saved config can be run
    again."""
    if isinstance(value, dict):
        for key, item in value.items():
            if not isinstance(key, str):
                raise ValueError(f"config key {where}: dict keys must be strings, got {key!r}")
            _check_literal(item, f"{where}.{key}")
    elif isinstance(value, (list, tuple)):
        for index, item in enumerate(value):
            _check_literal(item, f"{where}.{index}")
    elif type(value) not in _LITERALS or (isinstance(value, float) and value - value != 0.0):
        raise ValueError(
            f"config key {where}: {value!r} is not a finite number, string, bool, None, list, tuple or dict"
            "; use one of those"
        )
