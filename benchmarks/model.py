"""Times CLIP-RC as a whole, inference or a training step, beside plain PyTorch layers, in turn.

    python benchmarks/model.py inference|training [--preset coco] [--regions 256 ...] [--torch-python PYTHON]
                               [--baseline FOLDER] [--precision bfloat16] [--runs 5] [--breakdown]
                               [--out model.json]

Contenders: `jseg`; with --baseline `baseline`, another checkout of jseg; with --torch-python `release`, plain
PyTorch layers with the decoder's attention written out as in the released code and the encoder's through
`scaled_dot_product_attention`, and `sdpa`, with all attention through it. All have the same random weights
(those of the first contender, by the names of released checkpoints), image and label. Each is a process of
its own; they take turns, and the table shows medians after a first call that compiles. CPU seconds are those
of all threads. Peak memory is the largest size of the process so far above that with its weights and data,
gradients and optimizer's state included. Parity is the largest difference from jseg relative to the largest
value, without dropout: of the probabilities for inference, of the loss terms for training. Nothing is cached
between timed calls but what jseg keeps of the model alone: keys and values of prompts, the projected words.
All use a GPU if there is one (JSEG_DEVICE=cpu: the CPU); peak memory is that of the host. With --precision
bfloat16, PyTorch computes under `autocast`; on a CPU, jseg only rounds to bfloat16, and computes in float32.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent)]

from model_sizes import MARK, Sizes, add_size_options, sizes_of

from jseg.runtime.command import exit_status, prove_writable
from jseg.runtime.device import PRECISIONS


class Contender:
    """A worker process that loads the weights of `folder`, or writes them if there are none yet."""

    def __init__(self, name: str, command: list[str], environment: dict[str, str]) -> None:
        self.name = name
        pipe = subprocess.PIPE
        try:
            self.process = subprocess.Popen(
                command, env={**os.environ, **environment}, stdin=pipe, stdout=pipe, text=True
            )
        except OSError as problem:
            raise ValueError(f"{command[0]} cannot be started ({problem.strerror})") from None

    def ask(self, order: str) -> dict:
        """The answer to 'parity', 'time' or 'breakdown'; raises ValueError if the worker ended."""
        assert self.process.stdin and self.process.stdout
        try:
            self.process.stdin.write(order + "\n")
            self.process.stdin.flush()
        except BrokenPipeError:  # the process has ended, and so has its output
            pass
        for line in self.process.stdout:  # Jittor also prints messages about compilation
            if line.startswith(MARK):
                return json.loads(line[len(MARK) :])
        raise ValueError(f"the worker '{self.name}' ended with status {self.process.wait()}; see above")

    def close(self) -> None:
        """Ends the process."""
        assert self.process.stdin
        self.process.stdin.close()
        self.process.wait()


def contenders(options: argparse.Namespace, sizes: Sizes, folder: str) -> Iterator[Contender]:
    """Starts the workers one after the other; jseg comes first, since it makes the weights."""
    arguments = [options.kind, json.dumps(sizes), folder]
    jseg = [sys.executable, str(HERE / "model_jseg.py"), *arguments]
    precision = {"JSEG_PRECISION": options.precision}
    checkpoint = {"JSEG_CHECKPOINT_BLOCKS": str(int(options.checkpoint_blocks))}
    yield Contender("jseg", jseg, {"JSEG_TREE": str(HERE.parent), **precision, **checkpoint})
    if options.baseline:
        yield Contender("baseline", jseg, {"JSEG_TREE": str(options.baseline), **precision})
    if options.torch_python:
        torch = [options.torch_python, str(HERE / "model_torch.py"), *arguments]
        yield Contender("release", [*torch, "written-out"], precision)
        yield Contender("sdpa", [*torch, "sdpa"], precision)


def difference(found: list[np.ndarray], wanted: list[np.ndarray]) -> float:
    """Largest difference relative to the largest value, over several tensors."""
    return max(float(np.abs(a - b).max() / np.abs(b).max()) for a, b in zip(found, wanted))


def measure(options: argparse.Namespace, sizes: Sizes) -> list[dict]:
    """One row for each contender."""
    with tempfile.TemporaryDirectory() as folder:
        workers: list[Contender] = []
        try:
            outputs = {}
            for worker in contenders(options, sizes, folder):
                workers.append(worker)
                path = worker.ask("parity")["file"]
                with np.load(path) as arrays:
                    outputs[worker.name] = [arrays[name] for name in sorted(arrays.files)]
            answers: dict[str, list[dict]] = {worker.name: [] for worker in workers}
            for run in range(options.runs + 1):
                for worker in workers:
                    time.sleep(0.1)  # until the threads of the previous contender have stopped spinning
                    answer = worker.ask("time")
                    if run:
                        answers[worker.name].append(answer)
            rows = [
                {
                    "contender": name,
                    "seconds": statistics.median(answer["seconds"] for answer in taken),
                    "cpu_seconds": statistics.median(answer["cpu_seconds"] for answer in taken),
                    "peak_mib": max(answer["peak_bytes"] for answer in taken) / 2**20,
                    "parity": difference(outputs[name], outputs["jseg"]),
                }
                for name, taken in answers.items()
            ]
            if options.breakdown:
                rows[0]["breakdown"] = workers[0].ask("breakdown")["rows"]
            return rows
        finally:
            for worker in workers:
                worker.close()


def report(options: argparse.Namespace) -> int:
    """Measures and prints the table."""
    if options.out:
        prove_writable(options.out)
    sizes = sizes_of(options)
    print(f"{options.kind}: {', '.join(f'{k} {v}' for k, v in sizes._asdict().items())}")
    print(
        f"threads {os.environ.get('OMP_NUM_THREADS', 'all')}, cores {os.cpu_count()}, load "
        f"{os.getloadavg()[0]:.1f}, {options.precision}, median of {options.runs} runs in turn\n",
        flush=True,
    )
    rows = measure(options, sizes)
    print("| contender | s | CPU s | peak MiB | s / jseg | CPU s / jseg | difference |")
    print("|---|---:|---:|---:|---:|---:|---:|")
    for row in rows:
        ratios = [row[key] / rows[0][key] for key in ("seconds", "cpu_seconds")]
        print(
            f"| {row['contender']} | {row['seconds']:.3f} | {row['cpu_seconds']:.3f} | {row['peak_mib']:.0f} "
            f"| {ratios[0]:.2f} | {ratios[1]:.2f} | {row['parity']:.1e} |"
        )
    for name, milliseconds in rows[0].get("breakdown", []):
        print(f"{milliseconds:10.1f} ms  {name}")
    if options.out:
        options.out.write_text(json.dumps({"sizes": sizes._asdict(), "rows": rows}, indent=1) + "\n")
    return 0


def main() -> int:
    """Reads the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("kind", choices=["inference", "training"])
    add_size_options(parser)
    parser.add_argument("--precision", choices=PRECISIONS, default="float32", help="default: float32")
    parser.add_argument("--runs", type=int, default=5, help="measured calls of each contender (default 5)")
    parser.add_argument("--torch-python", help="Python that has PyTorch (default: PyTorch is left out)")
    parser.add_argument("--baseline", type=Path, help="another checkout of jseg, measured in turn")
    parser.add_argument(
        "--checkpoint-blocks",
        action="store_true",
        help="jseg computes the blocks of the encoder again in the backward pass",
    )
    parser.add_argument("--breakdown", action="store_true", help="time of jseg's operators in one more call")
    parser.add_argument("--out", type=Path, help="also write the rows to this JSON file")
    options = parser.parse_args()
    if options.runs < 1:
        parser.error("--runs must be at least 1")
    return exit_status(lambda: report(options))


if __name__ == "__main__":
    sys.exit(main())
