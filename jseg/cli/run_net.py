"""Train, evaluate or apply a model.

    jseg train --config configs/clip_rc/zeroshapes_demo.py
    jseg train --config CONFIG --set optimizer.lr=5e-5 batch_size=8 --work-dir work_dirs/mine
    jseg train --config CONFIG --resume auto               # continues an interrupted run
    jseg val --config CONFIG --per-image                   # newest checkpoint of the run -> metrics.json
    jseg test --config CONFIG --checkpoint released.pth    # writes predicted masks
    mpirun -n 2 python tools/run_net.py --config CONFIG --task train

All files of a run are in its work folder, by default work_dirs/NAME of the config. docs/training.md
"""

import argparse
import json
import os
import socket
import sys
import time
import traceback
from pathlib import Path

from jseg.cli import shipped
from jseg.cli.output import Record, add_output_options, chosen_output
from jseg.config import Config
from jseg.datasets.outlines import OUTLINE_FORMS
from jseg.runtime.command import INTERRUPTED, interrupt_first, make_encodable, say
from jseg.runtime.device import add_device_options
from jseg.runtime.memory import INFERENCE, TRAINING, memory_advice
from jseg.runtime.selection import name_device, select_device

_AFTER_RANK_0 = 2.0  # seconds; errors common to all processes are reported by one


def make_parser(task: str | None = None) -> argparse.ArgumentParser:
    """Returns the parser of the command line. If `task` is given, there is no option --task."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--config", "--config-file", required=True, help="config file")
    if task is None:
        parser.add_argument("--task", choices=("train", "val", "test"), default="train")
    else:
        parser.set_defaults(task=task)
    add_overrides(parser, "override config keys, e.g. --set optimizer.lr=1e-4 model.backbone.num_regions=64")
    parser.add_argument(
        "--resume",
        nargs="?",
        const="auto",
        metavar="PATH",
        help="resume from a checkpoint; without PATH (or with auto), the newest in the work folder",
    )
    parser.add_argument(
        "--checkpoint",
        metavar="PATH",
        help="weights for val and test; default: the newest in the work folder",
    )
    parser.add_argument(
        "--save-predictions",
        action="store_true",
        help="val: also write masks to WORK_DIR/val_predictions, replacing those of an earlier "
        "run, for tools/evaluate_masks.py",
    )
    parser.add_argument(
        "--per-image",
        action="store_true",
        help="val: also write the scores of every image to WORK_DIR/per_image.jsonl",
    )
    parser.add_argument(
        "--published-values",
        action="store_true",
        help="test: write masks with the dataset's published values (VOC: 1 to 20; COCO-Stuff: its ids) "
        "instead of class indices from 0",
    )
    parser.add_argument(
        "--outlines",
        nargs="+",
        choices=OUTLINE_FORMS,
        default=[],
        help="test: also write the masks as polygons to be corrected by hand, as predictions/labelme/ID.json "
        "or one predictions/coco.json",
    )
    parser.add_argument("--work-dir", help="default: work_dirs/<config name>")
    parser.add_argument("--seed", type=int)
    add_output_options(parser, "the work folder with the metrics of the evaluation or the folder of masks")
    add_device_options(parser)
    return parser


def parse_args(argv: list[str] | None = None, task: str | None = None) -> argparse.Namespace:
    """Parses the command line; see `make_parser`."""
    parser = make_parser(task)
    args = parser.parse_args(argv)
    if args.resume and args.task != "train":
        parser.error("--resume is for --task train; val and test take --checkpoint")
    if args.checkpoint and args.task == "train":
        parser.error("--checkpoint is for --task val and test; train takes --resume, or --set init_from=PATH")
    if (args.save_predictions or args.per_image) and args.task != "val":
        parser.error("--save-predictions and --per-image are for --task val; test always writes its masks")
    if args.published_values and args.task != "test":
        parser.error("--published-values is for --task test")
    if args.outlines and args.task != "test":
        parser.error("--outlines is for --task test")
    return args


def add_overrides(parser: argparse.ArgumentParser, text: str) -> None:
    """Adds `--set`, with `text` as its help."""
    parser.add_argument(
        "--set", dest="overrides", nargs="+", action="extend", default=[], metavar="KEY=VALUE", help=text
    )


def load_config(args: argparse.Namespace) -> Config:
    """Loads the config and applies the options. Shipped configs are found from any folder."""
    config = Config.load(shipped(args.config), args.overrides)
    if args.work_dir is not None:
        config["work_dir"] = args.work_dir
    if args.seed is not None:
        if args.seed < 0:
            raise ValueError(f"--seed {args.seed}: must be at least 0")
        config["seed"] = args.seed
    return config


def main(argv: list[str] | None = None, task: str | None = None) -> int:
    """Runs `task`, or the task given by --task.

    Returns 0 on success, 2 after a user error, 128 + the signal number after a signal in `StopSignals`.

    Under mpirun, a process that fails ends all of them, since the others would wait for it.
    """
    args = parse_args(argv, task)
    make_encodable()
    with chosen_output(args) as record:
        return run(args, record)


def run(args: argparse.Namespace, record: Record) -> int:
    """Runs the task, and returns the exit status; see `main`."""
    try:
        config = load_config(args)
        select_device(args.device, args.precision)
        from jseg.distributed import (  # loads Jittor, so only after reading the config
            barrier,
            check_device,
            is_main,
            watch,
        )
        from jseg.runner import Interrupted, Runner
    except (ValueError, OSError) as error:
        return end_run(f"error: {error}", 2)
    except KeyboardInterrupt:  # while Jittor is loading
        return end_run("interrupted", INTERRUPTED)
    watch(config.watchdog_seconds)
    try:
        check_device()
        if args.task != "train":  # training logs it
            name_device()
        with interrupt_first(), memory_advice(TRAINING if args.task == "train" else INFERENCE):
            runner = Runner(config)
            if args.task == "train":
                runner.train(args.resume)
            elif args.task == "val":
                runner.val(args.checkpoint, args.save_predictions, args.per_image)
            else:
                runner.test(args.checkpoint, args.published_values, args.outlines)
        if is_main():
            record(outcome(args.task, runner.work_dir))
        barrier("the end of the run")  # watched, unlike the barrier inside MPI_Finalize
    except (ValueError, OSError, FloatingPointError) as error:
        return end_run(f"error: {error}", 2)
    except Interrupted as stop:
        return end_run(str(stop), stop.exit_code, agreed=True)
    except KeyboardInterrupt:
        resume = (
            "; --resume continues from the newest checkpoint, if one was saved"
            if args.task == "train"
            else ""
        )
        return end_run("interrupted" + resume, INTERRUPTED)
    except Exception:
        if "OMPI_COMM_WORLD_RANK" not in os.environ:
            raise
        return end_run(traceback.format_exc().rstrip(), 1)
    return 0


def outcome(task: str, work_dir: Path) -> dict[str, object]:
    """Returns the result of a task from its files."""
    if task == "test":
        return {"task": task, "predictions": work_dir / "predictions"}
    metrics = work_dir / "metrics.json"
    scores = json.loads(metrics.read_text(encoding="utf-8")) if metrics.is_file() else None
    return {"task": task, "work_dir": work_dir, "metrics": scores}


def end_run(message: str, code: int, agreed: bool = False) -> int:
    """Prints why the run ends (with the rank, under mpirun) and ends the other processes too.

    `agreed`: every rank ends for the same reason, so only rank 0 prints it.
    """
    rank = os.environ.get("OMPI_COMM_WORLD_RANK")
    if rank is None:
        say(message, sys.stderr)
        return code
    if rank != "0":
        time.sleep(_AFTER_RANK_0)
    if rank == "0" or not agreed:
        say(f"{message} (rank {rank} on {socket.gethostname()})", sys.stderr)
    if "jseg.distributed" in sys.modules:
        from jseg.distributed import abort

        abort(code)
    return code
