"""Golden vectors to a table of differences: jseg beside recorded outputs of other implementations.

A case folder holds `case.json`, whose `kind` says what else lies there:

- `clip_rc`: `weights.npz` (names of the released checkpoints), `inputs.npz` (image, text, label) and
  `outputs.npz`;
- `zegclip`: the same files of a ZegCLIP;
- `clip`: `openai.pt` (CLIP as OpenAI publishes it) or `openai.pt.gz`, or the file that `weights` names with
  its configuration, and `io.npz` (image, tokens, the recorded features);
- `dense_clip`: `weights.npz` (an image tower), `inputs.npz` and `outputs.npz` (patch features);
- `tokenizer`: `cases.json` (texts and token ids).

Importing this package does not load Jittor; computing a case does.
"""

from jseg.parity.cases import build_segmentor, pending_case, run_case
from jseg.parity.comparison import Row, compare, format_rows
from jseg.parity.files import openai_archive

__all__ = [
    "Row",
    "build_segmentor",
    "compare",
    "format_rows",
    "openai_archive",
    "pending_case",
    "run_case",
]
