"""Download a benchmark or OpenAI's CLIP weights from the official addresses, and prepare them.

    jseg download clip ViT-B-16
    jseg download voc2012 --root data
    jseg download list

Interrupted downloads are resumed. Sizes and checksums are compared with the published ones, and only complete
files get their names. A benchmark is then prepared as by `jseg prepare`, and a CLIP is converted as by `jseg
convert-clip`. `list` shows addresses, checksums and their public sources. Proxies are read from the variables
http_proxy, https_proxy and no_proxy.
"""

import argparse
import dataclasses
import os
from pathlib import Path

from jseg.checkpoints import read_tensors
from jseg.cli import convert_clip, prepare_dataset
from jseg.cli.output import Record, add_output_options, command_status
from jseg.datasets import configured_root
from jseg.datasets.prepare import BENCHMARKS, Problems, Work, check, prepare, survey
from jseg.datasets.prepare.matlab import require_scipy
from jseg.download import (
    ANNOTATIONS,
    CLIP_NAMES,
    Mirror,
    Settings,
    Source,
    clip_source,
    dataset_sources,
    fetch,
)
from jseg.files import expanded
from jseg.runtime.command import say

_WEIGHTS = "weights"


def make_parser() -> argparse.ArgumentParser:
    """Returns the parser of the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(dest="what", required=True, metavar="WHAT")
    common = argparse.ArgumentParser(add_help=False)
    add_download_options(common)
    add_output_options(common, "what was made, or exists already")
    clip = commands.add_parser("clip", parents=[common], help="download and convert weights of OpenAI's CLIP")
    clip.add_argument("name", metavar="NAME", help=", ".join(CLIP_NAMES))
    clip.add_argument("--root", type=expanded, default=Path(_WEIGHTS), metavar="DIR", help="default: weights")
    for name in BENCHMARKS:
        dataset = commands.add_parser(
            name.replace("_", "-"),
            aliases=[name] if "_" in name else [],
            parents=[common],
            help=f"download and prepare {BENCHMARKS[name].TITLE}",
        )
        dataset.set_defaults(what=name)
        dataset.add_argument(
            "--root",
            metavar="DIR",
            help="folder of all datasets or of this one (default: $JSEG_DATA_ROOT, else data)",
        )
        dataset.add_argument(
            "--jobs",
            type=int,
            default=len(os.sched_getaffinity(0)),
            metavar="N",
            help="number of processes that convert and check (default: %(default)s, the CPU cores)",
        )
        if name == "context":
            dataset.add_argument(
                "--annotations",
                choices=tuple(ANNOTATIONS),
                default="json",
                help="json: lists of the paper; mat: release of 459 classes, whose lists have two more "
                "images for training and one more for validation (default: json)",
            )
    sources = commands.add_parser("list", help="show addresses, sizes, checksums and their public sources")
    add_output_options(sources, "one object for each file", quiet=False)
    return parser


def parse_arguments(argv: list[str] | None = None) -> argparse.Namespace:
    """Parses the command line and checks the numbers."""
    parser = make_parser()
    arguments = parser.parse_args(argv)
    for option in ("jobs", "connections"):
        if getattr(arguments, option, 1) < 1:
            parser.error(f"--{option} must be at least 1")
    return arguments


def add_download_options(parser: argparse.ArgumentParser) -> None:
    """Adds the options of every command that downloads."""
    parser.add_argument(
        "--mirror",
        metavar="URL|DIR",
        help="address or folder to use instead of the official addresses; it must hold the files under their "
        "official names",
    )
    parser.add_argument(
        "--connections",
        type=int,
        default=Settings.connections,
        metavar="N",
        help="number of files to download at a time (default: %(default)s)",
    )


def download_dataset(
    name: str, work: Work, mirror: str | None, settings: Settings, annotations: str = "json"
) -> dict[str, object]:
    """Downloads, prepares and checks a benchmark, unless it is complete. Returns what there is then; see
    `prepare_dataset.describe`.

    Raises:
        ValueError, OSError: see `jseg.download.fetch` and `jseg.datasets.prepare`.
    """
    report = survey(name, work)
    if not report.problems:
        counts = ", ".join(f"{count} {title}" for title, count in report.counts.items())
        say(f"nothing to download: {report.home}: {counts}")
        return prepare_dataset.describe(report)
    sources = dataset_sources(name, annotations)
    if name == "voc2012" or (name == "context" and annotations == "mat"):
        require_scipy()  # before downloading gigabytes
    size = sum(source.size for source in sources)
    from_there = None if mirror is None else Mirror(mirror)
    paths = fetch(sources, work.root, from_there, unpacked=size, settings=settings)
    work.root.mkdir(parents=True, exist_ok=True)
    work = Work(work.root, paths[0].parent, work.jobs, work.any_count)
    try:
        for step in (prepare, check):  # `check` reads every file
            report = step(name, work)
            prepare_dataset.show(report, prepare_dataset.SHOWN)
            if report.problems:
                return prepare_dataset.describe(report)
    except Problems as error:
        prepare_dataset.print_problems(list(error.problems), prepare_dataset.SHOWN)
        return {"complete": False, "problems": list(error.problems)}
    if from_there is None or from_there.folder is None:
        say(f"no longer needed: {', '.join(str(path) for path in paths)}")
    return prepare_dataset.describe(report)


def download_clip(name: str, folder: Path, mirror: str | None, settings: Settings) -> dict[str, object]:
    """Downloads and converts a CLIP, unless the converted file exists. Returns the files.

    Raises:
        ValueError, OSError: see `jseg.download.fetch` and `jseg.cli.convert_clip`.
    """
    source = clip_source(name)
    out = (folder / source.name).with_suffix(".safetensors")
    assert source.checksum is not None
    if out.exists():
        if read_tensors(out).metadata.get("source_sha256") != source.checksum.digits:
            raise FileExistsError(
                f"{out} exists, but is not converted from OpenAI's {source.name}; rename it"
            )
        say(f"nothing to download: {out} was converted from OpenAI's {source.name}")
        return {"source_sha256": source.checksum.digits, "out": out}
    # The converted file is about as large.
    paths = fetch(
        [source], folder, None if mirror is None else Mirror(mirror), unpacked=source.size, settings=settings
    )
    folder.mkdir(parents=True, exist_ok=True)
    return convert_clip.convert(str(paths[0]), str(out), force=False)


def describe(sources: list[Source]) -> str:
    """Returns the addresses, sizes, checksums and public sources of files."""
    lines = []
    for source in sources:
        size = f"{'' if source.exact else 'about '}{source.size:,} bytes"
        checksum = (
            f"{source.checksum.algorithm} {source.checksum.digits}" if source.checksum else "no checksum"
        )
        lines += [source.name, f"  {source.url}", f"  {size}, {checksum}", f"  {source.cited}"]
    return "\n".join(lines)


def list_sources(record: Record) -> None:
    """Prints all files that can be downloaded."""
    for name in BENCHMARKS:
        print(f"{BENCHMARKS[name].TITLE}: jseg download {name.replace('_', '-')}\n")
        sources = [*dataset_sources(name), *([ANNOTATIONS["mat"]] if name == "context" else [])]
        print(describe(sources) + "\n")
        for source in sources:
            record({"for": name, **dataclasses.asdict(source)})
    print("CLIP: jseg download clip NAME\n")
    print(describe([clip_source(name) for name in CLIP_NAMES]))
    for name in CLIP_NAMES:
        record({"for": name, **dataclasses.asdict(clip_source(name))})


def run(arguments: argparse.Namespace, record: Record) -> int:
    """Runs the command and returns the exit status."""
    if arguments.what == "list":
        list_sources(record)
        return 0
    settings = Settings(connections=arguments.connections)
    if arguments.what == "clip":
        record(download_clip(arguments.name, arguments.root, arguments.mirror, settings))
        return 0
    root = Path(configured_root(arguments.root))
    work = Work(root, root, arguments.jobs)
    annotations = getattr(arguments, "annotations", "json")
    made = download_dataset(arguments.what, work, arguments.mirror, settings, annotations)
    record(made)
    return 0 if made["complete"] else 1


def main(argv: list[str] | None = None) -> int:
    """Returns 0 on success, 1 if a dataset is not complete, 2 after another error, 130 after Ctrl-C."""
    arguments = parse_arguments(argv)
    return command_status(
        arguments,
        lambda record: run(arguments, record),
        "interrupted; received data is kept, and the same command continues from here",
    )
