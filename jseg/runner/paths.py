"""Where files are: paths of configs, the work folder, and the folder of an earlier run that must not be
lost."""

import contextlib
import os

REPOSITORY = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
PACKAGE = os.path.join(REPOSITORY, "jseg")
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


def resolve_path(path: str) -> str:
    """An existing path for `path`: as given (from the current folder), in the repository, or in the package.

    Raises:
        FileNotFoundError: it is in none of these places.
    """
    expanded = os.path.expanduser(path)
    places = (
        [expanded]
        if os.path.isabs(expanded)
        else [os.path.abspath(expanded), os.path.join(REPOSITORY, expanded), os.path.join(PACKAGE, expanded)]
    )
    for place in places:
        if os.path.exists(place):
            return place
    raise FileNotFoundError(f"{path} does not exist (looked for {', '.join(places)}); correct the path")


def default_work_dir(config_file: str | None) -> str:
    """`work_dirs/<config name>` in the current folder."""
    name = os.path.splitext(os.path.basename(config_file or "run.py"))[0]
    return os.path.join("work_dirs", name)


def check_work_dir(path: str) -> None:
    """Proves that the folder exists or can be created, and that files can be written there; leaves nothing
    behind.

    Raises:
        OSError: it cannot be created or written.
    """
    created = []
    folder = os.path.abspath(path)
    while not os.path.lexists(folder):
        created.append(folder)
        folder = os.path.dirname(folder)
    probe = os.path.join(path, f".jseg-write-test-{os.getpid()}")
    try:
        os.makedirs(path, exist_ok=True)
        with open(probe, "w", encoding="utf-8") as file:
            file.write("ok")
        os.unlink(probe)
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
                os.rmdir(folder)


def set_aside_earlier_run(work_dir: str) -> str | None:
    """Moves the files of an earlier training into `work_dir/earlier-N`; returns that folder, None if there
    were none.

    A new training must neither mix its logs and checkpoints with old ones nor destroy them.
    """
    if not os.path.exists(os.path.join(work_dir, "log.jsonl")) and not os.path.isdir(
        os.path.join(work_dir, "checkpoints")
    ):
        return None
    number = 1
    while os.path.exists(os.path.join(work_dir, f"earlier-{number}")):
        number += 1
    folder = os.path.join(work_dir, f"earlier-{number}")
    os.makedirs(folder)
    for name in RUN_FILES:
        if os.path.exists(os.path.join(work_dir, name)):
            os.rename(os.path.join(work_dir, name), os.path.join(folder, name))
    return folder
