"""What is done with each command of the documentation. The first rule that matches decides.

A command without a rule runs as it is written. `STAND_INS` says what is replaced in those that need weights,
data, a GPU, several processes or hours, and `ONLY_PARSED` lists those that are not run, with the reason.
tests/test_docs.py requires that every rule still matches a command.
"""

import re
from typing import NamedTuple

from pages.commands import Command


class OnlyParsed(NamedTuple):
    """Commands that are not run. Their options, targets, extras or files are still checked."""

    pattern: str
    reason: str


ONLY_PARSED = (
    OnlyParsed(r"^make ", "makes an environment, or runs all of this"),
    OnlyParsed(r"^(pip|apt-get) install ", "installs packages"),
    OnlyParsed(r"^\. \.venv/bin/activate$", "enters the environment that the tests run in"),
    OnlyParsed(
        r"^(trap|wait|exit|\[) |^(mpirun|status)=", "a batch job; tests/distributed/slurm.py submits it"
    ),
    OnlyParsed(r"^srun ", "needs SLURM; tests/distributed/slurm.py runs it"),
    OnlyParsed(r"^apptainer ", "needs Apptainer, and minutes"),
    OnlyParsed(r"^(python3 -m venv |\.venv/bin/)", "an environment of its own, from a wheelhouse"),
    OnlyParsed(r"^nvcc ", "compiles for a GPU; tests/ops does, if there is nvcc"),
    OnlyParsed(r"^\./attention_kernels$", "needs a GPU"),
    OnlyParsed(r"^tensorboard ", "serves until Ctrl-C, and is not part of jseg"),
    OnlyParsed(r"^(\w+=\w+ )?python benchmarks/", "measures for minutes"),
    OnlyParsed(r"^python tests/", "a check of minutes outside the suite"),
)


class StandIn(NamedTuple):
    """A replacement in the words of matching commands.

    Attributes:
        pattern: where it applies (regular expression, searched in the command).
        about: what stands in for what, for the summary.
        old, new: replaced in each word by `re.sub`; not changed if `old` is "".
        more: words added at the end.
    """

    pattern: str
    about: str
    old: str = ""
    new: str = ""
    more: tuple[str, ...] = ()


# Small files, such as data and weights, are made by `pages.folder.provide`.
# configs/ of the folder that a page runs in holds reduced copies; see `pages.folder`.
STAND_INS = (
    StandIn(r"--config (?!my_)", "configs of one iteration, with a small CLIP in place of ViT-B/16"),
    StandIn(
        r"--config CONFIG .*RELEASED",
        "the config of the released checkpoint",
        r"^CONFIG$",
        "configs/clip_rc/voc2012_inductive.py",
    ),
    StandIn(
        r"--config (…|CONFIG)",
        "the config of ZeroShapes for any config",
        r"^(…|CONFIG)$",
        "configs/clip_rc/zeroshapes_inductive.py",
    ),
    StandIn(r"^mpirun ", "one process in place of several"),
    StandIn(
        r"^/usr/bin/time ", "images of 64 pixels in place of 512, without a measurement", r"=512$", "=64"
    ),
    StandIn(r"max_iters=[1-9]", "one iteration", r"max_iters=\d+", "max_iters=1"),
    StandIn(r"iter_\d+\.safetensors", "the checkpoint of the first iteration", r"iter_\d+\.", "iter_1."),
    StandIn(r"batch_size=4|accumulate=4", "two images in a batch", r"^(\w+)=4$", r"\1=2"),
    StandIn(
        r"^jseg (zeroshapes|zerowords) --out data/\1$",
        "six drawings in place of 3,400",
        more=("--train", "4", "--val", "1", "--test", "1"),
    ),
    StandIn(r"^python -\n", "six drawings in place of 300 and 100", r"\b(30|10)0\b", "6"),
    StandIn(
        r"ViT-B-16|other_clip|RELEASED|CHECKPOINT|[AB]\.safetensors|voc\.(pth|safetensors)|work_dirs/(run|RUN|seed0)\b",
        "weights of a small CLIP, and a CLIP-RC trained with it for one iteration",
    ),
    StandIn(r"photo\.jpg|photos/", "the sample photos and their annotations"),
    StandIn(r"data_root=mydata$", "the sample photos as data of one's own"),
    StandIn(r"truth/", "masks and words of drawings"),
    StandIn(r"data_root=/path/to/data", "drawings", r"=/path/to/data$", "=data/zeroshapes"),
    StandIn(r"=/(path/to/)?data$", "a folder of the test", r"/(path/to/)?data$", "data"),
    StandIn(r"prepare_dataset", "a miniature of the archives"),
    StandIn(r"^jseg download (voc2012|clip)", "miniatures from a local folder", more=("--mirror", "MIRROR")),
    StandIn(
        r"jseg reproduce table\d --row",
        "two iterations on the miniature of a benchmark",
        more=("--any-count", "--set", "REDUCED"),
    ),
    StandIn(r"doctor\.py$", "without the self-test, which tests/doctor runs", more=("--no-self-test",)),
    StandIn(r"--seeds 0 1 2", "one seed", r"^[12]$", ""),
    StandIn(r"pretrain_clip", "two iterations", r"^(3000|96|20000)$", "2"),
    StandIn(
        r"^jseg pretrain-clip ",
        "two iterations",
        more=("--iterations", "2", "--batch-size", "2", "--scenes", "4"),
    ),
    StandIn(r"^jseg web", "an application that is asked once, without a server", r"^8000$", "0"),
    StandIn(r"^curl ", "requests without a network"),
)


def only_parsed(command: Command) -> OnlyParsed | None:
    """Returns the rule for a command that is not run, or None."""
    return next((rule for rule in ONLY_PARSED if re.search(rule.pattern, command.text)), None)


def stand_ins(command: Command) -> list[StandIn]:
    """Returns what is replaced in a command that is run."""
    return [rule for rule in STAND_INS if re.search(rule.pattern, command.text)]
