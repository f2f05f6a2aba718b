"""Read every image and mask of a config's data.

    jseg check-dataset --config configs/clip_rc/custom_inductive.py --set data_root=mydata

Lists all bad files at once, where training would stop at the first one. Also prints how often each class
occurs, and which files are not used. The exit status is 1 if a file is bad, and 2 if the data cannot be
found.
"""

import argparse
import os
import sys
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

import jseg.datasets as datasets
from jseg.checkpoints.formats.reader import read_tensors
from jseg.cli import shipped
from jseg.cli.output import Record, add_output_options, command_status
from jseg.config import Config, import_plugins
from jseg.datasets import DATASETS, Dataset, class_words_key
from jseg.datasets.annotations.formats import FORMATS, recognised
from jseg.datasets.leftovers import shared_files
from jseg.files import expanded, find_file
from jseg.progress import progress

_TEMPLATE_BYTES = 60  # more than any template adds to a word


class Content(NamedTuple):
    """Contents of a part of the data."""

    images: int
    pixels: np.ndarray  # int64 (256,): pixels of each label, 255 ignored
    occurs: np.ndarray  # int64 (256,): images in which a label occurs
    problems: list[str]


def read_part(dataset: Dataset, jobs: int, name: str) -> Content:
    """Reads all images and masks of the part `name`. Pillow releases Python's lock while decoding, so threads
    are enough."""

    def counts(index: int) -> tuple[np.ndarray | None, str]:
        try:
            return np.bincount(dataset.raw(index)[1].reshape(-1), minlength=256), ""
        except (ValueError, OSError) as error:
            return None, str(error)

    pixels, occurs, problems = np.zeros(256, np.int64), np.zeros(256, np.int64), []
    with ThreadPoolExecutor(jobs) as pool:
        read = pool.map(counts, range(len(dataset)))
        for found, problem in progress(read, len(dataset), "image", name):
            if found is None:
                problems.append(problem)
            else:
                pixels += found
                occurs += found > 0
    return Content(len(dataset), pixels, occurs, problems)


def table(dataset: Dataset, parts: list[tuple[str, Content]]) -> str:
    """Formats the number of images and the share of labelled pixels of each class in each part."""
    heads = ["class"] + [f"{name}: images, share" for name, _ in parts]
    rows = [heads]
    for index, word in enumerate(dataset.class_names):
        cells = [word + (" *" if index in dataset.unseen else "")]
        for _, content in parts:
            labelled = max(content.pixels[:255].sum(), 1)
            cells.append(f"{content.occurs[index]}, {100 * content.pixels[index] / labelled:.2f} %")
        rows.append(cells)
    widths = [max(len(row[column]) for row in rows) for column in range(len(heads))]
    lines = [
        "  ".join([row[0].ljust(widths[0]), *(cell.rjust(width) for cell, width in zip(row[1:], widths[1:]))])
        for row in rows
    ]
    return "\n".join([lines[0], "  ".join("-" * width for width in widths), *lines[1:]])


def remarks(dataset: Dataset, name: str, content: Content) -> list[str]:
    """Lists classes without pixels, which training or evaluation would miss."""
    seen = [index for index in range(len(dataset.class_names)) if index not in dataset.unseen]
    wanted = seen if name == "train" else range(len(dataset.class_names))
    absent = [dataset.class_names[index] for index in wanted if not content.occurs[index]]
    what = (
        "seen classes that occur in no training mask"
        if name == "train"
        else "classes that occur in no val mask"
    )
    return [f"{what}: {', '.join(absent)}"] if absent else []


def long_words(dataset: Dataset, where: str, model: Mapping[str, Any]) -> list[str]:
    """Returns a sentence for each class word that, in the longest template, exceeds the CLIP's context.

    Loading the tokenizer loads Jittor. A byte is at most one token, so it is needed only for long words.

    Args:
        where: config key of the words, for the sentence.
        model: the config's `model`. Its `clip` determines the context (77 if the file does not exist yet).
    """
    context = _context_length(model.get("clip"))
    words = [word for word in dataset.class_names if len(word.encode()) > context - 2 - _TEMPLATE_BYTES]
    if not words:
        return []
    from jseg.models.clip import get_templates, tokenize

    templates = get_templates(model.get("templates", "single"))
    longest = max(templates, key=lambda template: len(tokenize(template, truncate=True)[0].nonzero()[0]))
    problems = []
    for word in words:
        try:
            tokenize(longest.replace("{}", word), context)
        except ValueError as error:
            problems.append(f"{where}: class '{word[:60]}': {error}")
    return problems


def build_part(name: str, part: Mapping[str, Any], offered: Mapping[str, Any]) -> Dataset:
    """The data of a part of the config.

    Raises:
        ValueError, FileNotFoundError: something is missing; names the command that makes masks of annotations
            if such lie there.
    """
    try:
        return DATASETS.build(part, where=f"dataset.{name}", offered=offered)
    except (ValueError, FileNotFoundError) as error:
        hint = annotations_hint(part, offered)
        if not hint:
            raise
        raise ValueError(f"{error}. {hint}") from error


def annotations_hint(part: Mapping[str, Any], offered: Mapping[str, Any]) -> str:
    """A sentence that names the command for what lies in a user's folder instead of masks; else ''."""
    root = expanded(part.get("data_root", offered["data_root"]))
    name = recognised(root) if part.get("type") == "FolderDataset" and root.is_dir() else None
    if name is None:
        return ""
    return (
        f"In {root} there are annotations of the format {name} ({FORMATS[name].title}): "
        f"`jseg annotations {name} {root} NEW_FOLDER` makes the folder that is needed"
    )


def _context_length(clip: Any) -> int:
    """Returns the context length of the CLIP in a file in tokens, including the start and end tokens."""
    try:
        return read_tensors(find_file(clip)).entry("positional_embedding").shape[0]
    except (OSError, ValueError, KeyError, TypeError):
        return 77  # the length of all CLIPs of OpenAI; training reports problems of the file


def run(config: Config, jobs: int, record: Record) -> int:
    """Checks the parts that have masks, and returns the exit status."""
    import_plugins(config.imports)
    parts: list[tuple[str, Content]] = []
    notes: list[str] = []
    problems: list[str] = []
    files: list[list[Path]] = []
    dataset: Dataset | None = None
    for name in ("train", "val"):
        part = config.dataset.get(name)
        if part is None:
            continue
        offered: dict[str, Any] = {"seed": 0, "data_root": datasets.configured_root(config.data_root)}
        dataset = build_part(name, part, offered)
        content = read_part(dataset, jobs, name)
        parts.append((name, content))
        notes.extend([*dataset.notes(), *remarks(dataset, name, content)])
        files.append(dataset.files())
        problems.extend([*content.problems, *long_words(dataset, class_words_key(name, part), config.model)])
        hint = annotations_hint(part, offered) if content.problems else ""
        notes.extend([hint] if hint else [])
    if dataset is None:
        raise ValueError("config key dataset: it has neither a train nor a val part to check; add one")
    print(table(dataset, parts))
    if dataset.unseen:
        print("* unseen in training")
    print("\n" + ", ".join(f"{name} {content.images} images" for name, content in parts))
    notes = list(dict.fromkeys([*notes, *(shared_files(*files) if len(files) > 1 else ())]))
    for note in notes:
        print(f"note: {note}")
    for problem in dict.fromkeys(problems):
        print(problem, file=sys.stderr)
    problems = list(dict.fromkeys(problems))
    print(f"{len(problems)} problems" if problems else "all files are good")
    described = {name: describe(dataset, content) for name, content in parts}
    record({"parts": described, "notes": notes, "problems": problems})
    return 1 if problems else 0


def describe(dataset: Dataset, content: Content) -> dict[str, Any]:
    """Returns the numbers of images, and the images and pixels of each class."""
    classes = [
        {
            "name": word,
            "unseen": index in dataset.unseen,
            "images": int(content.occurs[index]),
            "pixels": int(content.pixels[index]),
        }
        for index, word in enumerate(dataset.class_names)
    ]
    return {"images": content.images, "classes": classes}


def make_parser() -> argparse.ArgumentParser:
    """The options."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--config", required=True)
    parser.add_argument(
        "--set", dest="overrides", nargs="+", action="extend", default=[], metavar="KEY=VALUE"
    )
    parser.add_argument("--jobs", type=int, default=len(os.sched_getaffinity(0)), help="threads")
    add_output_options(parser, "images and pixels of each class, notes and problems")
    return parser


def main(argv: list[str] | None = None) -> int:
    args = make_parser().parse_args(argv)

    def checked(record: Record) -> int:
        return run(Config.load(shipped(args.config), args.overrides), max(args.jobs, 1), record)

    return command_status(args, checked)
