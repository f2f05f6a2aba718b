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
    OnlyParsed(r"^(trap|wait) ", "signals of a batch job; tests/runner sends them"),
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


# configs/ of the folder that a page runs in holds reduced copies; see `pages.folder`.
STAND_INS = (
    StandIn(r"--config (?!project|my_)", "configs of one iteration, with a small CLIP in place of ViT-B/16"),
    StandIn(
        r"--config (…|CONFIG)",
        "the config of ZeroShapes for `…`",
        r"^(…|CONFIG)$",
        "configs/clip_rc/zeroshapes_inductive.py",
    ),
    StandIn(r"^mpirun ", "one process in place of several"),
    StandIn(r"^/usr/bin/time ", "64 pixels in place of 512, and no measurement", r"=512$", "=64"),
    StandIn(r"max_iters=[1-9]", "one iteration", r"max_iters=\d+", "max_iters=1"),
    StandIn(r"iter_\d+\.safetensors", "the checkpoint of the first iteration", r"iter_\d+\.", "iter_1."),
    StandIn(r"batch_size=[4-9]", "two images in a batch", r"batch_size=\d", "batch_size=2"),
    StandIn(
        r"^jseg zeroshapes --out data/zeroshapes$",
        "six drawings in place of 3,400",
        more=("--train", "4", "--val", "1", "--test", "1"),
    ),
    StandIn(r"^python -$", "12 drawings in place of 120 and 300", r"\b(300|100)\b|, 20\)", "8"),
    StandIn(
        r"ViT-B-16|RELEASED|CHECKPOINT|[AB]\.safetensors|voc\.(pth|safetensors)|work_dirs/(run|RUN)/",
        "weights of a small CLIP and of a CLIP-RC trained with it",
    ),
    StandIn(r"photo\.jpg|photos/", "the sample photos and their annotations"),
    StandIn(r" mydata(/|$| )|data_root=mydata", "the sample photos as data of one's own"),
    StandIn(r"=/(path/to/)?data$", "a folder of the test", r"/(path/to/)?data$", "data"),
    StandIn(
        r"^jseg (download (voc2012|clip)|reproduce table)|prepare_dataset",
        "a miniature of the benchmark, from a local folder",
    ),
    StandIn(r"^jseg reproduce table\d ", "two iterations", more=("--any-count", "--set", "REDUCED")),
    StandIn(r"--seeds 0 1 2", "one seed", r"^[12]$", ""),
    StandIn(r"pretrain_clip", "one iteration", r"^(3000|96|20000)$", "2"),
    StandIn(r"^jseg web", "no server is left running", r"^8000$", "0"),
    StandIn(r"^curl ", "requests without a network"),
)


def only_parsed(command: Command) -> OnlyParsed | None:
    """Returns the rule for a command that is not run, or None."""
    return next((rule for rule in ONLY_PARSED if re.search(rule.pattern, command.text)), None)


def stand_ins(command: Command) -> list[StandIn]:
    """Returns what is replaced in a command that is run."""
    return [rule for rule in STAND_INS if re.search(rule.pattern, command.text)]
