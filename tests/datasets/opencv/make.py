"""Writes values.npz beside this file: images, and what OpenCV 4.8.1 makes of them.

    pip install opencv-python-headless==4.8.1.78 && python tests/datasets/opencv/make.py

`<n>.image` resized to the shape of `<n>.resized` by cv2.resize(..., INTER_LINEAR); `rgb` converted to `hsv`
and `hsv` back to `back` by cv2.cvtColor. Rows of 64 pixels are whole vectors on every CPU, and the CPU that
made the file had fused multiply-add (AVX2).
"""

from pathlib import Path

import cv2
import numpy as np

SIZES = [
    ((11, 13), (17, 29)),
    ((11, 13), (5, 6)),
    ((11, 13), (4, 26)),
    ((13, 11), (31, 5)),
    ((12, 14), (6, 7)),  # both sides halved: the mean of four pixels
    ((12, 14), (6, 28)),
    ((12, 14), (24, 28)),
    ((40, 30), (3, 4)),
    ((1, 1), (3, 2)),
    ((1, 9), (2, 14)),
    ((37, 50), (68, 91)),
]


def main() -> None:
    rng = np.random.default_rng(0)
    values = {}
    for number, (shape, size) in enumerate(SIZES):
        image = rng.integers(0, 256, (*shape, 3)).astype(np.uint8)
        values[f"{number}.image"] = image
        values[f"{number}.resized"] = cv2.resize(image, size[::-1], interpolation=cv2.INTER_LINEAR)
    rgb = rng.integers(0, 256, (16, 64, 3)).astype(np.uint8)
    rgb[0] = np.arange(64)[:, None] * 4  # grey
    rgb[1] = rgb[1] & 3  # dark
    rgb[2:4, :, :2] = rgb[2:4, :, 1:]  # two equal channels
    values["rgb"] = rgb
    values["hsv"] = cv2.cvtColor(rgb, cv2.COLOR_RGB2HSV)
    values["back"] = cv2.cvtColor(values["hsv"], cv2.COLOR_HSV2RGB)
    np.savez_compressed(Path(__file__).with_name("values.npz"), **values)


if __name__ == "__main__":
    main()
