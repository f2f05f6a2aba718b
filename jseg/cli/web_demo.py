"""Segment photos in the browser with your own words.

    jseg web                                      # the small model of jseg, for drawings
    jseg web --checkpoint RUN/checkpoints/latest  # a trained model, to compare with CLIP alone
    jseg web --clip ViT-B-16.pt                   # training-free, with CLIP alone
    jseg web --checkpoint A --compare B           # two models side by side

Prints a link to open in a browser, and serves the page until Ctrl-C. By default the page is only available
on this machine. With --host it is available to others, by a link with a token. The connection is not
encrypted.
"""

import argparse
import importlib.util
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from jseg.cli import shipped
from jseg.cli.segment import SAMPLE_CHECKPOINT, SAMPLE_THRESHOLD
from jseg.files import find_file
from jseg.runtime.command import exit_status, say
from jseg.runtime.device import add_device_options
from jseg.runtime.selection import name_device, select_device

if TYPE_CHECKING:
    from jseg.inference.segmenter import Segmenter
    from jseg.web.app import Start
    from jseg.web.engine import Offer

NOTE = (
    "This is the small model that comes with jseg. It was trained on drawings of coloured shapes and cannot "
    "segment photographs. For photographs, start jseg web with --checkpoint or --clip."
)
SAMPLE_WORDS = (
    "red circle",
    "yellow ring",
    "blue triangle",
    "red cross",
    "yellow cross",
    "green cross",
    "purple cross",
)
_ALONE = "CLIP alone, training-free"
_STUCK = 70  # EX_SOFTWARE: a computation did not end


def make_parser() -> argparse.ArgumentParser:
    """Returns the parser of the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    model = parser.add_argument_group("model")
    model.add_argument(
        "--checkpoint", metavar="FILE", help=f"of a run, or a released one (default: {SAMPLE_CHECKPOINT})"
    )
    model.add_argument(
        "--clip",
        metavar="FILE",
        help="CLIP weights of the checkpoint, or, without one, for training-free segmentation",
    )
    model.add_argument("--config", metavar="FILE", help="config of a released checkpoint")
    model.add_argument("--compare", metavar="FILE", help="a second checkpoint to compare with")
    model.add_argument(
        "--compare-clip",
        metavar="FILE",
        help="CLIP weights of --compare, or, without it, for training-free segmentation",
    )
    model.add_argument(
        "--compare-config", metavar="FILE", help="config of --compare if it is a released checkpoint"
    )
    server = parser.add_argument_group("server")
    server.add_argument("--host", default="127.0.0.1", help="address to listen on (default: %(default)s)")
    server.add_argument("--port", type=int, default=8000, help="0 selects a free port (default: %(default)s)")
    server.add_argument(
        "--trusted-host",
        metavar="NAME",
        action="append",
        default=[],
        help="another host name of this machine in links",
    )
    add_device_options(parser)
    return parser


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """Parses the command line."""
    parser = make_parser()
    args = parser.parse_args(argv)
    if args.config and not args.checkpoint:
        parser.error("--config belongs to a --checkpoint")
    if args.compare_config and not args.compare:
        parser.error("--compare-config belongs to --compare")
    if not 0 <= args.port <= 65535:
        parser.error(f"--port {args.port}: it must be from 0 to 65535")
    return args


def main(argv: list[str] | None = None) -> int:
    """Returns 0 after Ctrl-C, 2 after a user error, 130 after Ctrl-C before the link is printed."""
    args = parse_args(argv)
    return exit_status(lambda: run(args))


def run(args: argparse.Namespace) -> int:
    """Serves the page until Ctrl-C.

    Raises:
        ValueError, OSError: if Flask is missing, a model cannot be loaded, or the address cannot be used.
    """
    missing = [name for name in ("flask", "waitress") if importlib.util.find_spec(name) is None]
    if missing:
        raise ValueError(f"the page needs {' and '.join(missing)}; install it: pip install 'jseg[web]'")
    from jseg.web.server import Server, bind

    address = bind(args.host, args.port, args.trusted_host)
    with address.listener:
        select_device(args.device, args.precision)
        name_device()  # loads Jittor, which must be in the main thread because of signal handlers
        server = Server(address, offers(args), start(args))
        server.load()
        if args.compare or args.compare_clip:
            server.load("b")
        if address.access.token:
            say(
                f"warning: anyone with this link who can reach {args.host} can use the page. The "
                "connection is not encrypted",
                sys.stderr,
            )
        say(f"open {address.link} in a browser; Ctrl-C ends the server")
        ended = server.serve_until_interrupted()
    say("stopped")
    if not ended:
        sys.stdout.flush()
        os._exit(_STUCK)  # Jittor cannot be unloaded while it computes
    return 0


def offers(args: argparse.Namespace) -> list["Offer"]:
    """Returns the model of the command line, and the one to compare with, by default its CLIP alone."""
    from jseg.web.engine import Offer

    clips: list[str] = []

    def first() -> "Segmenter":
        segmenter = load(args.checkpoint, args.clip, args.config)
        clips.append(segmenter.text_encoder.clip)
        return segmenter

    offered = [Offer("a", title(args.checkpoint, args.clip), first)]
    if args.compare or args.compare_clip:
        named = title(args.compare, args.compare_clip)
        offered.append(Offer("b", named, lambda: load(args.compare, args.compare_clip, args.compare_config)))
    elif args.checkpoint or not args.clip:
        offered.append(Offer("b", _ALONE, lambda: load(None, clips[0], None)))
    return offered


def load(checkpoint: str | None, clip: str | None, config: str | None) -> "Segmenter":
    """Loads a model from files of the command line."""
    from jseg.inference.segmenter import Segmenter

    if clip and not checkpoint:
        return Segmenter.from_clip(shipped(clip))
    found = shipped(checkpoint) if checkpoint else find_file(SAMPLE_CHECKPOINT)
    return Segmenter.from_checkpoint(found, clip and shipped(clip), config and shipped(config))


def title(checkpoint: str | None, clip: str | None) -> str:
    """Returns the title of a model on the page, with file names but no folders."""
    if checkpoint:
        return Path(checkpoint).name
    return f"{Path(clip).name}, training-free" if clip else "CLIP-RC, small, for drawings"


def start(args: argparse.Namespace) -> "Start":
    """Returns the initial state of the page, with a drawing if the model is the small one."""
    from jseg.web.app import Start

    if args.checkpoint or args.clip:
        return Start()
    return Start(SAMPLE_WORDS, SAMPLE_THRESHOLD, NOTE, sample=True)
