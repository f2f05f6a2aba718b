"""Compares jseg with recorded outputs of other implementations and tabulates the differences.

A case folder contains `case.json`, whose `kind` determines the other files:

- `clip_rc`: `weights.npz` (names of the released checkpoints), `inputs.npz` (image, text, label) and
  `outputs.npz`;
- `zegclip`: the same files of a ZegCLIP;
- `clip`: `openai.pt` (CLIP as published by OpenAI) or `openai.pt.gz`, or the file named by `weights` with its
  configuration; and `io.npz` (image, tokens, recorded features);
- `dense_clip`: `weights.npz` (an image tower), `inputs.npz` and `outputs.npz` (patch features);
- `tokenizer`: `cases.json` (texts and token ids);
- `training`: `weights.npz`, `inputs.npz` (batches) and `outputs.npz` (losses and learning rates of each step,
  final weights, moments of the optimizer) of a training run.

Importing this package does not load Jittor; computing a case does.
"""

from jseg.parity.cases import pending_case, run_case
from jseg.parity.comparison import Row, compare, format_rows
from jseg.parity.files import openai_archive
from jseg.parity.segmentors import build_segmentor

__all__ = [
    "Row",
    "build_segmentor",
    "compare",
    "format_rows",
    "openai_archive",
    "pending_case",
    "run_case",
]
