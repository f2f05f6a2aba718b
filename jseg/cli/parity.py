"""Compare jseg with recorded outputs of other implementations.

`python tools/parity.py CASE_DIR [--out OUT.npz]`. A case folder holds
`case.json`, whose `kind` says what else lies there:

- `clip_rc`: `weights.npz` (names of the released checkpoints), `inputs.npz` (image, text, label) and
  `outputs.npz`;
- `clip`: `openai.pt` (CLIP as OpenAI publishes it) or `openai.pt.gz`, and `io.npz` (image, tokens,
  the recorded features);
- `tokenizer`: `cases.json` (texts and token ids).

Every recorded quantity is computed again. The table gives the largest difference relative to the largest
recorded value of the tensor (share of differing elements for integers). Exit status 1 beyond tolerance, 2
with one sentence on stderr for a bad case folder.
"""

import argparse

import numpy as np

from jseg.files import expanded
from jseg.parity import compare, format_rows, run_case
from jseg.runtime.command import exit_status, prove_writable
from jseg.runtime.device import add_device_options
from jseg.runtime.memory import ONE_INPUT, memory_advice
from jseg.runtime.selection import name_device, select_device


def make_parser() -> argparse.ArgumentParser:
    """The options."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("case_dir", type=expanded, help="folder with case.json")
    parser.add_argument("--out", type=expanded, help="write the computed arrays to this .npz file")
    add_device_options(parser)
    return parser


def main(argv: list[str] | None = None) -> int:
    """0 if all is within tolerance, 1 if not, 2 after an error of the user."""
    options = make_parser().parse_args(argv)
    return exit_status(lambda: run(options))


def run(options: argparse.Namespace) -> int:
    """Computes and compares; the exit status.

    Raises:
        ValueError: the case cannot be computed. OSError: the file of the computed arrays cannot be written.
    """
    select_device(options.device, options.precision)
    if options.out:
        prove_writable(options.out)
    try:
        with memory_advice(ONE_INPUT):
            computed, recorded = run_case(options.case_dir)
        rows = compare(computed, recorded)
        table = format_rows(rows)
    except (OSError, ValueError) as problem:
        raise ValueError(f"{options.case_dir}: {problem}") from problem
    # Jittor's refusals of sizes that do not fit.
    except (RuntimeError, AssertionError, KeyError, IndexError) as problem:
        reason = (str(problem).strip().splitlines() or [type(problem).__name__])[0]
        raise ValueError(
            f"{options.case_dir}: cannot be computed ({reason}); its files must belong together"
        ) from problem
    if options.out:
        with options.out.open("wb") as file:  # given a name, np.savez would add an ending to it
            np.savez(file, **computed)
    name_device()
    print(table)
    return 0 if all(row.passed for row in rows) else 1
