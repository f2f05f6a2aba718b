"""The work folder, and the preservation of an earlier run in it."""

import contextlib
import os
from pathlib import Path

from jseg.files import PathLike

RUN_FILES = (
    "config.py",
    "log.txt",
    "log.jsonl",
    "eval.jsonl",
    "metrics.json",
    "confusion.json",
    "environment.json",
    "checkpoints",
    "pictures",
    "predictions",
    "val_predictions",
    "per_image.jsonl",
)


def default_work_dir(config_file: str | None) -> str:
    """`work_dirs/<config name>` in the current folder."""
    return str(Path("work_dirs") / Path(config_file or "run.py").stem)


def check_work_dir(path: PathLike) -> None:
    """Checks that the folder exists or can be created, and that files can be written in it.

    No files are left behind.

    Raises:
        OSError: if it cannot be created or written.
    """
    created = []
    folder = Path(path).absolute()
    while not os.path.lexists(folder):
        created.append(folder)
        folder = folder.parent
    probe = Path(path) / f".jseg-write-test-{os.getpid()}"
    try:
        probe.parent.mkdir(parents=True, exist_ok=True)
        probe.write_text("ok", encoding="utf-8")
        probe.unlink()
    except FileExistsError as error:
        raise OSError(
            f"work folder {path} is a file, not a folder; choose another one with --work-dir"
        ) from error
    except OSError as error:
        raise OSError(
            f"work folder {path} cannot be written ({error.strerror or error}); choose another one with "
            "--work-dir"
        ) from error
    finally:
        with contextlib.suppress(OSError):  # not empty if another run has just started in it
            for folder in created:
                folder.rmdir()


def set_aside_earlier_run(work_dir: PathLike) -> Path | None:
    """Moves the files of an earlier training to `work_dir/earlier-N`.

    A new training must neither mix its logs and checkpoints with old ones nor destroy them.

    Returns:
        The new folder, or None if there was no earlier training.
    """
    work_dir = Path(work_dir)
    if not (work_dir / "log.jsonl").exists() and not (work_dir / "checkpoints").is_dir():
        return None
    number = 1
    while (work_dir / f"earlier-{number}").exists():
        number += 1
    folder = work_dir / f"earlier-{number}"
    folder.mkdir()
    for name in RUN_FILES:
        if (work_dir / name).exists():
            (work_dir / name).rename(folder / name)
    return folder
