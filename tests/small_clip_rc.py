"""A small CLIP-RC with random weights, and its inputs."""

from types import MappingProxyType

import numpy as np

from jseg.checkpoints import EncoderSizes
from jseg.models.segmentors import CLIPRC
from jseg.runtime.backend import jt

CLASSES, JOINT, PATCH = 5, 16, 8
UNSEEN = (1, 4)


def embeddings():
    text = np.random.default_rng(3).normal(size=(CLASSES, JOINT))
    return text / np.linalg.norm(text, axis=1, keepdims=True)


def segmentor(
    ram_inputs=("region", "global"),
    recovery=MappingProxyType({}),
    train_regions=False,
    num_regions=4,
    dropout=0.0,
    text=None,
    **options,
):
    np.random.seed(0)
    return CLIPRC.from_sizes(
        EncoderSizes(layers=2, width=32, patch_size=PATCH, joint_width=JOINT),
        2,
        embeddings() if text is None else text,
        UNSEEN,
        backbone=dict(
            type="RegionBridgeEncoder",
            num_prompts=3,
            num_regions=num_regions,
            train_regions=train_regions,
            dropout=dropout,
        ),
        decode_head=dict(
            type="CLIPRCHead",
            num_heads=2,
            num_layers=2,
            ram_inputs=ram_inputs,
            recovery=recovery,
            dropout=dropout,
        ),
        image_size=32,
        **options,
    )


def batch(height=32, width=32, batch=2):
    random = np.random.default_rng(4)
    image = random.normal(size=(batch, 3, height, width)).astype(np.float32)
    label = random.integers(0, CLASSES, (batch, height, width)).astype(np.uint8)
    label[:, :4] = 255
    return jt.array(image), jt.array(label.astype(np.int32))


def numbers(terms):
    return {name: term.item() for name, term in terms.items()}
