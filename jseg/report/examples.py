"""The best and worst images of an evaluation, drawn from the dataset and the masks that were saved."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from PIL import Image

from jseg.config import import_plugins
from jseg.datasets import DATASETS, configured_root, read_mask
from jseg.labels import IGNORE_INDEX
from jseg.report.run import Run
from jseg.visualization import draw_panels

MASKS = "val_predictions"


def draw_examples(run: Run, names: Sequence[str]) -> Image.Image | None:
    """Draws image, ground truth and prediction of some images of the validation set.

    Args:
        names: ids of images, from `run.images`.

    Returns:
        The panels, or None if the run saved no masks (`jseg val --save-predictions`), or the data are no
        longer where the config says.
    """
    folder = run.folder / MASKS
    if run.config is None or not names or not all((folder / f"{name}.png").is_file() for name in names):
        return None
    try:
        import_plugins(run.config.imports)
        offered: dict[str, Any] = {
            "seed": run.config.seed,
            "data_root": configured_root(run.config.data_root),
        }
        dataset = DATASETS.build(run.config.dataset["val"], where="dataset.val", offered=offered)
        places = {dataset.name(index): index for index in range(len(dataset))}
        samples = []
        for name in names:
            image, label, _ = dataset.raw(places[name])
            prediction = read_mask(folder / f"{name}.png")
            samples.append(dict(image=image, label=label, prediction=prediction, name=name))
        ignored = any(np.any(sample["label"] == IGNORE_INDEX) for sample in samples)
        return draw_panels(samples, dataset.class_names, dataset.palette, dataset.unseen, mask_ignore=ignored)
    except (ValueError, OSError, KeyError):  # the report does not need these panels
        return None
