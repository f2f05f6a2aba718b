"""Measures training over MPI: equality of n ranks with one, scaling, and the cost of communication.

    python benchmarks/distributed.py equality       # losses and weights after 50 iterations on 1, 2, 4 ranks
    python benchmarks/distributed.py scaling        # two ranks of one thread, one rank of one or two threads
    python benchmarks/distributed.py communication  # averaging of gradients, and the parts of a step

All of them train on ZeroShapes (`python tools/make_zeroshapes.py`) with the `mpirun` beside this Python.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

CONFIG = str(ROOT / "configs/clip_rc/zeroshapes_inductive.py")
MPIRUN = Path(sys.prefix) / "bin" / "mpirun"
MPI_OPTIONS = ["--allow-run-as-root", "--oversubscribe", "--bind-to", "none"]
# The released sizes: joint width 512, 8 heads, 11 layers of 10 prompts of width 768 (VOC, ViT-B/16).
VIT_B_PROMPTS = [(1, 10, 768), (11, 10, 768), (768, 768), (768,), (768,), (768,)]


def launch(ranks: int, threads: int, program: Sequence[str]) -> str:
    """Runs a program on `ranks` ranks (without mpirun for one rank) and returns its output.

    Raises:
        RuntimeError: if the program failed.
    """
    prefix = [str(MPIRUN), *MPI_OPTIONS, "-n", str(ranks)] if ranks > 1 else []
    environment = {**os.environ, "OMP_NUM_THREADS": str(threads)}
    done = subprocess.run(
        [*prefix, sys.executable, *program],
        env=environment,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    if done.returncode:
        raise RuntimeError(f"{' '.join(map(str, program))} failed on {ranks} ranks:\n{done.stdout[-3000:]}")
    return done.stdout


def train(
    ranks: int, accumulate: int, folder: Path, iterations: int, extra: Sequence[str]
) -> tuple[list[dict[str, float]], dict[str, np.ndarray]]:
    """Trains with tools/run_net.py, and returns the loss terms of every iteration and the last checkpoint."""
    from jseg.checkpoints import load_arrays

    work_dir = folder / f"ranks{ranks}_accumulate{accumulate}"
    launch(
        ranks,
        1,
        [
            str(ROOT / "tools/run_net.py"),
            "--config",
            CONFIG,
            "--task",
            "train",
            "--work-dir",
            str(work_dir),
            "--set",
            f"max_iters={iterations}",
            f"accumulate={accumulate}",
            "log_interval=1",
            "eval_interval=None",
            "checkpoint_interval=None",
            "visualize.num_images=0",
            *extra,
        ],
    )
    lines = (work_dir / "log.jsonl").read_text(encoding="utf-8").splitlines()
    arrays, _ = load_arrays(str(work_dir / "checkpoints" / f"iter_{iterations}.safetensors"))
    return [json.loads(line) for line in lines], arrays


def equality(arguments: argparse.Namespace) -> None:
    """Prints the largest relative differences from one rank without accumulation."""
    folder = arguments.work_root or Path(tempfile.mkdtemp(prefix="jseg-equality-"))
    cases = [(1, 1), (2, 1), (4, 1), (1, 4), (2, 2)]
    print("| ranks | accumulate | losses | weights, worst | weights, all |\n|---:|---:|---:|---:|---:|")
    reference = None
    for ranks, accumulate in cases:
        losses, arrays = train(ranks, accumulate, folder, arguments.iterations, arguments.overrides)
        reference = reference or (losses, arrays)
        terms = [name for name in losses[0] if name.startswith(("loss", "recovery", "total", "acc"))]
        loss = max(
            abs(own[name] - one[name]) / max(abs(one[name]), 1e-6)
            for own, one in zip(losses, reference[0])
            for name in terms
        )
        worst, whole = weight_differences(arrays, reference[1])
        print(f"| {ranks} | {accumulate} | {loss:.1e} | {worst:.1e} | {whole:.1e} |", flush=True)
    print(f"\n{arguments.iterations} iterations. Terms: {', '.join(terms)}. The runs are in {folder}")


def weight_differences(own: dict[str, np.ndarray], reference: dict[str, np.ndarray]) -> tuple[float, float]:
    """Returns the largest difference of a weight, and the norm of all differences, both relative.

    The former is relative to the largest weight of its tensor, and the latter to the norm of all weights. Key
    biases are left out. The softmax removes them, so their exact gradient is zero, and Adam turns the
    rounding errors into full steps. They have no effect on any output.
    """
    names = [name for name in reference if not name.startswith("optimizer.") and not name.endswith(".k.bias")]
    worst = max(
        float(np.abs(own[name] - reference[name]).max() / max(np.abs(reference[name]).max(), 1e-6))
        for name in names
    )
    difference, size = (
        np.sqrt(sum(float(np.square(value, dtype=np.float64).sum()) for value in values))
        for values in ([own[name] - reference[name] for name in names], [reference[name] for name in names])
    )
    return worst, float(difference / size)


def scaling(arguments: argparse.Namespace) -> None:
    """Prints the time per iteration of each layout, measured several times in turn."""
    layouts = {
        "one rank, one thread": (1, 1),
        "one rank, two threads": (1, 2),
        "two ranks, one thread each": (2, 1),
    }
    times: dict[str, list[float]] = {name: [] for name in layouts}
    for _ in range(arguments.rounds):
        for name, (ranks, threads) in layouts.items():
            times[name].append(worker_result(ranks, threads, arguments)["step"])
    print("| layout | ms per iteration, median of rounds | all rounds |\n|---|---:|---|")
    for name, values in times.items():
        print(
            f"| {name} | {1e3 * np.median(values):.0f} | "
            f"{', '.join(f'{1e3 * value:.0f}' for value in values)} |"
        )


def communication(arguments: argparse.Namespace) -> None:
    """Prints the parts of a step's time on two ranks, and the time of averaging alone for two models."""
    result = worker_result(2, 1, arguments)
    print("| part of a step on two ranks | median ms |\n|---|---:|")
    for part in ("step", "waiting", "transfer", "packing"):
        print(f"| {part} | {1e3 * result[part]:.2f} |")
    print("\n| gradients of | parameters | messages | median ms |\n|---|---:|---:|---:|")
    for name in ("ZeroShapes", "CLIP-RC on ViT-B/16"):
        numbers, messages, seconds = result["alone"][name]
        print(f"| {name} | {numbers / 1e6:.2f} M | {messages} | {1e3 * seconds:.1f} |")


def worker_result(ranks: int, threads: int, arguments: argparse.Namespace) -> dict[str, Any]:
    """Runs workers and returns the measurements of rank 0."""
    program = [str(Path(__file__).resolve()), "worker", "--iterations", str(arguments.iterations)]
    if arguments.overrides:
        program += ["--set", *arguments.overrides]
    output = launch(ranks, threads, program)
    return json.loads(next(line for line in output.splitlines() if line.startswith("RESULT "))[7:])


def worker(arguments: argparse.Namespace) -> None:
    """Times steps on this rank, and averaging alone, and prints `RESULT {json}` on rank 0."""
    from jseg.config import Config
    from jseg.datasets import DataLoader
    from jseg.distributed import is_main, rank, world_size
    from jseg.optim import AdamW
    from jseg.runner import Runner
    from jseg.runner import step as step_module
    from jseg.runtime.backend import jt

    with tempfile.TemporaryDirectory() as folder:
        runner = Runner(Config.load(CONFIG, [*arguments.overrides, f"work_dir={folder}"]))
        dataset = runner.experiment.dataset("train")
        model = runner.experiment.model()
        optimizer = AdamW(model.trainable_parameters(), lr=1e-4)
        size = step_module.rank_batch_size(runner.cfg.batch_size, world_size(), 1)
        step = step_module.TrainingStep(model, optimizer, 0)
        clock = Clock(step_module)
        model.train()
        steps = []
        batches = DataLoader(dataset, size, 0, rank(), world_size()).batches(0)
        for iteration in range(arguments.iterations):
            batch = next(batches)
            start = time.perf_counter()
            step(iteration, batch, lambda base: base)
            jt.sync_all(True)
            steps.append(time.perf_counter() - start)
            clock.next()
        batches.close()
    result = {"step": float(np.median(steps[3:])), **clock.medians(), "alone": {}}
    if world_size() > 1:
        shapes = {
            "ZeroShapes": [tuple(p.shape) for p in optimizer.parameters.values()],
            "CLIP-RC on ViT-B/16": vit_b_shapes(),
        }
        result["alone"] = {name: averaging_alone(shapes[name]) for name in shapes}
    if is_main():
        print("\nRESULT " + json.dumps(result), flush=True)


class Clock:
    """Measures the time of waiting for other ranks, of transfer, and of packing in each step."""

    def __init__(self, step_module: Any) -> None:
        from jseg.distributed import mpi
        from jseg.runtime.backend import jt

        self._parts = {"waiting": 0.0, "transfer": 0.0, "packing": 0.0}
        self._steps: list[dict[str, float]] = []
        arrive, average, reduce = mpi.arrive, step_module.average_gradients, mpi.all_reduce

        def timed_arrive(what: str) -> None:
            start = time.perf_counter()
            arrive(what)
            self._parts["waiting"] += time.perf_counter() - start

        def timed_reduce(array: np.ndarray, operation: str, what: str) -> None:
            start, before = time.perf_counter(), self._parts["waiting"]
            reduce(array, operation, what)
            self._parts["transfer"] += time.perf_counter() - start - (self._parts["waiting"] - before)

        def timed_average(gradients: Any, *options: Any) -> Any:
            jt.sync(list(gradients))
            jt.sync_all(True)
            start, before = time.perf_counter(), sum(self._parts.values())
            means = average(gradients, *options)
            jt.sync(list(means))
            jt.sync_all(True)
            self._parts["packing"] += time.perf_counter() - start - (sum(self._parts.values()) - before)
            return means

        mpi.arrive, mpi.all_reduce, step_module.average_gradients = timed_arrive, timed_reduce, timed_average

    def next(self) -> None:
        """Ends a step."""
        self._steps.append(dict(self._parts))
        self._parts.update(dict.fromkeys(self._parts, 0.0))

    def medians(self) -> dict[str, float]:
        """Returns the median seconds of each part, without the first three steps."""
        return {name: float(np.median([step[name] for step in self._steps[3:]])) for name in self._parts}


def vit_b_shapes() -> list[tuple[int, ...]]:
    """Returns the shapes of the parameters that CLIP-RC trains on ViT-B/16."""
    from jseg.models.heads.clip_rc_head import CLIPRCHead

    head = CLIPRCHead(512)
    return VIT_B_PROMPTS + [tuple(p.shape) for p in head.parameters()]


def averaging_alone(shapes: Sequence[tuple[int, ...]], repeats: int = 7) -> tuple[int, int, float]:
    """Returns values, messages and median seconds of `average_gradients` on ready gradients."""
    from jseg.distributed import average_gradients, barrier
    from jseg.distributed.gradients import buckets
    from jseg.runtime.backend import jt

    sizes = [int(np.prod(shape)) for shape in shapes]
    seconds = []
    for _ in range(repeats):
        gradients = [jt.ones(shape).stop_grad() for shape in shapes]
        jt.sync_all(True)
        barrier()
        start = time.perf_counter()
        jt.sync(average_gradients(gradients))
        jt.sync_all(True)
        seconds.append(time.perf_counter() - start)
    return sum(sizes), len(buckets(sizes)), float(np.median(seconds))


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("measure", choices=("equality", "scaling", "communication", "worker"))
    parser.add_argument("--iterations", type=int, default=50)
    parser.add_argument("--rounds", type=int, default=3, help="number of rounds of scaling")
    parser.add_argument("--work-root", type=Path, help="folder that keeps the runs of equality")
    parser.add_argument(
        "--set", dest="overrides", nargs="+", default=[], metavar="KEY=VALUE", help="overrides for every run"
    )
    arguments = parser.parse_args()
    measures = {"equality": equality, "scaling": scaling, "communication": communication, "worker": worker}
    measures[arguments.measure](arguments)
    return 0


if __name__ == "__main__":
    sys.exit(main())
