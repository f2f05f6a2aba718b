"""Complete forward pass against float64 NumPy, with sizes that the golden vectors do not cover.

Image 24x40 (3x5 patches, not square), position table of a 4x4
grid, 9 regions (5 columns in 3 windows: uneven).
"""

import numpy as np
import pytest
from bilinear import plain_bilinear

from jseg.checkpoints import EncoderSizes
from jseg.models.segmentors import CLIPRC
from jseg.runtime.backend import jt

WIDTH, HEADS, PATCH, JOINT, PROMPTS, LAYERS = 32, 2, 8, 16, 3, 2


def _norm(x, w, name, eps=1e-5):
    x = x - x.mean(-1, keepdims=True)
    return x / np.sqrt((x**2).mean(-1, keepdims=True) + eps) * w[name + ".weight"] + w[name + ".bias"]


def _linear(x, w, name):
    return x @ w[name + ".weight"].T + w[name + ".bias"]


def _attention(q, k, v, heads, allowed=None):
    out = []
    for a, b, c in zip(*(np.split(x, heads, -1) for x in (q, k, v))):
        score = a @ b.T / np.sqrt(a.shape[-1])
        if allowed is not None:
            score = np.where(allowed, score, -np.inf)
        p = np.exp(score - score.max(-1, keepdims=True))
        out.append(p / p.sum(-1, keepdims=True) @ c)
    return np.concatenate(out, -1)


def _encode(image, w, side, table_side):
    """One image (3, H, W) -> I (N, d), G (d), R (M, d) and the grid."""
    h, c = image.shape[1] // PATCH, image.shape[2] // PATCH
    kernel = w["conv1.weight"].reshape(WIDTH, -1)
    patches = np.array(
        [
            image[:, i * PATCH : (i + 1) * PATCH, j * PATCH : (j + 1) * PATCH].reshape(-1) @ kernel.T
            for i in range(h)
            for j in range(c)
        ]
    )
    table = plain_bilinear(w["positional_embedding"][1:].reshape(table_side, table_side, -1), (h, c)).reshape(
        h * c, -1
    )
    first, cls = w["positional_embedding"][0], w["class_embedding"]
    prompts = [_linear(w["prompt_embeddings"][0], w, "prompt_proj")]
    prompts += [_linear(p, w, "prompt_proj") for p in w["deep_prompt_embeddings"]]
    start = 1 + PROMPTS + h * c
    window = [(i * side // h) * side + j * side // c for i in range(h) for j in range(c)]
    allowed = np.zeros((start + side**2,) * 2, bool)
    allowed[:start, :start] = True
    for patch, region in enumerate(window):
        allowed[1 + PROMPTS + patch, start + region] = allowed[start + region, 1 + PROMPTS + patch] = True
    allowed[range(start, len(allowed)), range(start, len(allowed))] = True
    x = np.concatenate(
        [
            _norm((2 * cls + first)[None], w, "ln_pre"),
            prompts[0],
            _norm(patches + table, w, "ln_pre"),
            np.repeat(_norm((cls + first)[None], w, "ln_pre"), side**2, 0),
        ]
    )
    for i in range(LAYERS):
        name = f"transformer.resblocks.{i}."
        x[1 : 1 + PROMPTS] = prompts[i]
        qkv = _norm(x, w, name + "ln_1") @ w[name + "attn.in_proj_weight"].T + w[name + "attn.in_proj_bias"]
        x = x + _linear(_attention(*np.split(qkv, 3, -1), HEADS, allowed), w, name + "attn.out_proj")
        hidden = _linear(_norm(x, w, name + "ln_2"), w, name + "mlp.c_fc")
        x = x + _linear(hidden / (1 + np.exp(-1.702 * hidden)), w, name + "mlp.c_proj")
    base, regions = _norm(x[:start], w, "prompt_norm", 1e-6), x[start:]
    joint = _norm(np.concatenate([base, regions]), w, "ln_post") @ w["proj"]
    joint = joint / np.linalg.norm(joint, axis=-1, keepdims=True)
    return joint[1 + PROMPTS : start], joint[0], joint[start:], (h, c)


def _layer(x, memory, w, name, heads):
    attention = name + ".multihead_attn."
    mixed = _attention(
        _linear(x, w, attention + "q"),
        _linear(memory, w, attention + "k"),
        _linear(memory, w, attention + "v"),
        heads,
    )
    x = _norm(x + _linear(mixed, w, attention + "proj"), w, name + ".norm2")
    hidden = np.maximum(_linear(x, w, name + ".linear1"), 0)
    return _norm(x + _linear(hidden, w, name + ".linear2"), w, name + ".norm3")


def _probabilities(image, text, w, side, table_side):
    """(C, H, W) sigmoid probabilities of one image."""
    encoder = {name[len("backbone.") :]: value for name, value in w.items() if name.startswith("backbone.")}
    head = {
        name[len("decode_head.") :]: value for name, value in w.items() if name.startswith("decode_head.")
    }
    features, overall, regions, grid = _encode(image, encoder, side, table_side)
    queries = np.concatenate([np.concatenate([text * (region + overall), text], -1) for region in regions])
    up = plain_bilinear(regions.reshape(side, side, -1), grid).reshape(len(features), -1)
    pixels = np.concatenate([up, np.repeat(overall[None], len(features), 0), features], -1)
    q, v = _linear(queries, head, "q_proj"), _linear(pixels, head, "lateral_proj")
    for i in range(2):
        q, v = (
            _layer(q, v, head, f"decoder_q.layers.{i}", 2),
            _layer(v, q, head, f"decoder_v.layers.{i}", 2),
        )
    logits = np.mean([part @ v.T for part in np.split(q, side**2)], axis=0)  # each region, then their mean
    return 1 / (1 + np.exp(-plain_bilinear(logits.T.reshape(*grid, -1), image.shape[1:]).transpose(2, 0, 1)))


@pytest.mark.parametrize("side, height, width", [(3, 24, 40), (1, 32, 32)])
def test_probabilities_of_an_image_that_is_not_square(side, height, width):
    np.random.seed(7)
    random = np.random.default_rng(7)
    text = random.normal(size=(5, JOINT))
    text /= np.linalg.norm(text, axis=1, keepdims=True)
    model = CLIPRC.from_sizes(
        EncoderSizes(LAYERS, WIDTH, PATCH, JOINT),
        HEADS,
        text,
        (4,),
        backbone=dict(type="RegionBridgeEncoder", num_prompts=PROMPTS, num_regions=side**2),
        decode_head=dict(type="CLIPRCHead", num_layers=2, num_heads=2, recovery=None),
        seen_bias=0.0,
        image_size=4 * PATCH,
    )
    # Initial weights hide errors (zero biases, unit norms): move every parameter.
    arrays = {
        name: (value + 0.1 * random.normal(size=value.shape)).astype(np.float32)
        for name, value in model.state_arrays().items()
    }
    model.load_arrays(arrays)
    images = random.normal(size=(2, 3, height, width)).astype(np.float32)
    result = model.predict(jt.array(images)).numpy()
    w = {name: value.astype(np.float64) for name, value in arrays.items()}
    expected = np.stack([_probabilities(image.astype(np.float64), text, w, side, 4) for image in images])
    assert expected.std() > 0.1, "the case must have contrast"
    assert np.abs(result - expected).max() < 2e-5
