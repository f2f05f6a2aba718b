"""Print the reference of all config keys, in Markdown: types, defaults and meaning.

    jseg config-keys                       # everything; docs/configs.md is this output
    jseg config-keys model.backbone        # the entries for one key

Descriptions are those of the constructors. Plug-ins are listed with --import MODULE.
"""

import argparse
import inspect
import re
import types
import typing
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from jseg.names import did_you_mean
from jseg.runtime.command import exit_status

_INTRODUCTION = """# Config keys

This page is the output of `jseg config-keys`. [training.md](training.md) explains how configs inherit
from each other and how keys are set on the command line, and [extending.md](extending.md) how to add your own
classes.
"""
_ENTRY = re.compile(r"^ {4}(\w+(?:, \w+)*): (.*)$")
"""First line of an argument in the `Args:` of a docstring: one name, or several with commas."""


def make_parser() -> argparse.ArgumentParser:
    """Returns the parser of the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("keys", nargs="*", metavar="KEY", help="such as model.backbone (default: all)")
    parser.add_argument(
        "--import",
        dest="imports",
        nargs="+",
        default=[],
        metavar="MODULE",
        help="plug-ins to list too",
    )
    return parser


def reference(keys: Sequence[str] = ()) -> str:
    """Returns the reference in Markdown.

    Args:
        keys: keys with `type`, such as "model.loss"; empty for all, with the keys of the top level.

    Raises:
        ValueError: if a key has no entries.
    """
    from jseg.runner.experiment import REGISTRIES

    for key in keys:
        if key not in REGISTRIES:
            raise ValueError(f"{key} has no entries of its own{did_you_mean(key, REGISTRIES)}")
    blocks = [] if keys else [_INTRODUCTION, *_top_level()]
    for key, registry in REGISTRIES.items():
        if keys and key not in keys:
            continue
        blocks.append(f"## {key}\n")
        for name in registry.names():
            entry = registry.get(name)
            skipped = (*registry.supplied, "self")
            blocks.append(f'### type="{name}"\n\n{_summary(entry)}\n')
            rows = list(_arguments(registry.parameters(name), _descriptions(entry), skipped))
            blocks.append(_table(rows) if rows else "No keys.\n")
    return "\n".join(blocks)


def _top_level() -> Iterator[str]:
    from jseg.config.schema import PLAIN_PARTS, TOP_LEVEL

    for title, keys in (("Top level", TOP_LEVEL), *((f"{name}", part) for name, part in PLAIN_PARTS.items())):
        yield f"## {title}\n"
        yield _table(
            [
                (
                    name,
                    " or ".join("None" if item is type(None) else item.__name__ for item in key.types),
                    "" if key.required else repr(key.default),
                    key.about,
                )
                for name, key in keys.items()
            ]
        )


def _arguments(
    parameters: Mapping[str, inspect.Parameter], about: Mapping[str, str], skipped: Sequence[str]
) -> Iterator[tuple[str, str, str, str]]:
    for name, parameter in parameters.items():
        if name not in skipped:
            required = parameter.default is parameter.empty
            default = "" if required else _value(parameter.default)
            yield name, _type(parameter.annotation), default, about.get(name, "")


def _summary(entry: Any) -> str:
    return " ".join((inspect.getdoc(entry) or "").split("\n\n")[0].split())


def _descriptions(entry: Any) -> dict[str, str]:
    """Returns argument -> description from the `Args:` of a class, and of its bases where it says nothing."""
    found: dict[str, str] = {}
    for owner in reversed(inspect.getmro(entry) if isinstance(entry, type) else (entry,)):
        names: list[str] = []
        text = inspect.cleandoc(owner.__doc__ or "").partition("Args:\n")[2]
        for line in text.splitlines():
            if line and not line.startswith(" "):
                break
            match = _ENTRY.match(line)
            if match:
                names = match[1].split(", ")
                found.update((name, match[2]) for name in names)
            elif line.strip():
                found.update((name, f"{found[name]} {line.strip()}") for name in names)
    return found


def _type(annotation: Any) -> str:
    if annotation is inspect.Parameter.empty:
        return ""
    if isinstance(annotation, types.UnionType) or typing.get_origin(annotation) is typing.Union:
        return " or ".join(_type(item) for item in typing.get_args(annotation))
    if annotation is type(None):
        return "None"
    origin = typing.get_origin(annotation) or annotation
    names = {"Sequence": "list", "Mapping": "dict"}
    if hasattr(origin, "_fields") or hasattr(origin, "__dataclass_fields__"):
        return "dict"
    return names.get(getattr(origin, "__name__", str(origin)), getattr(origin, "__name__", str(origin)))


def _value(default: Any) -> str:
    if hasattr(default, "__dataclass_fields__"):
        return repr({name: getattr(default, name) for name in default.__dataclass_fields__})
    return repr(default)


def _table(rows: Sequence[tuple[str, str, str, str]]) -> str:
    lines = ["| key | type | default | meaning |", "|---|---|---|---|"]
    for name, kind, default, about in rows:
        shown = f"`{default}`" if default else "required"
        about = about.replace("|", "\\\\|")
        lines.append(f"| `{name}` | {kind} | {shown} | {about} |")
    return "\n".join(lines) + "\n"


def run(keys: Sequence[str], imports: Sequence[str]) -> None:
    """Prints the reference.

    Raises:
        ValueError: if a key or a module does not exist.
    """
    from jseg.config import import_plugins

    import_plugins(imports)
    print(reference(keys))


def main(argv: list[str] | None = None) -> int:
    """Returns 0 on success, 2 after an error of the user."""
    args = make_parser().parse_args(argv)
    return exit_status(lambda: run(args.keys, args.imports))
