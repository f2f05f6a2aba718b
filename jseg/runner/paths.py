"""Where files are: paths of configs, the work folder, and the
folder of an earlier run that must not be lost."""

import contextlib
import os
from pathlib import Path

from jseg.files import PathLike, expanded

REPOSITORY = Path(__file__).absolute().parents[2]
PACKAGE = REPOSITORY / "jseg"
RUN_FILES = (
    "config.py",
    "log.txt",
    "log.jsonl",
    "eval.jsonl",
    "metrics.json",
    "checkpoints",
    "pictures",
    "predictions",
    "val_predictions",
    "per_image.jsonl",
)


def resolve_path(path: PathLike) -> str:
    """An existing path for `path`: as given (from the current folder), in the repository, or in the package.

    Raises:
        FileNotFoundError: it is in none of these places.
    """
    path = expanded(path)
    folders = [Path.cwd()] if path.is_absolute() else [Path.cwd(), REPOSITORY, PACKAGE]
    places = [str(folder / path) for folder in folders]
    for place in places:
        if Path(place).exists():
            return place
    raise FileNotFoundError(f"{path} does not exist (looked for {', '.join(places)}); correct the path")


def default_work_dir(config_file: str | None) -> str:
    """`work_dirs/<config name>` in the current folder."""
    return str(Path("work_dirs") / Path(config_file or "run.py").stem)


def check_work_dir(path: PathLike) -> None:
    """Proves that the folder exists or can be created, and that
    files can be written there; leaves nothing behind.

    Raises:
        OSError: it cannot be created or written.
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
        with contextlib.suppress(OSError):  # not empty: another run began there at the same time
            for folder in created:
                folder.rmdir()


def set_aside_earlier_run(work_dir: PathLike) -> Path | None:
    """Moves the files of an earlier training into
    `work_dir/earlier-N`; returns that folder, None if there were none.

    A new training must neither mix its logs and checkpoints with old ones nor destroy them.
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
