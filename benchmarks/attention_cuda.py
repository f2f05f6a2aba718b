"""Times region attention on a GPU against PyTorch with the same dense additive mask.

    python benchmarks/attention_cuda.py [--torch-python PYTHON] [--batch 16] [--regions 4 8 16 32]
                                        [--dtypes bfloat16 float32] [--runs 10] [--out attention_cuda.json]

The sizes are 12 heads of 64 channels, 32 x 32 patches, 10 prompts, and M = regions². The contenders are:
    fused: `jseg.ops.region_attention`.
    plain: the same with JSEG_FUSED=0 (products, softmax and the dense mask in Jittor).
    torch: `scaled_dot_product_attention`, run by --torch-python.
float32 allows TF32 in all three. For each contender and type, one process goes through all M.

Time: starting a call from Python takes about as long as the call. So several calls, each with its own graph,
are queued between two synchronisations. Their number is 10, or as many as fit into 50 ms. First all forward
passes run, then all backward passes. The result is the median of --runs such measurements, divided by the
number of calls. Jittor writes the upstream gradient of ones anew for each call, while PyTorch is given it.

Memory: this is the memory that one call, forward and backward, takes from the driver beyond inputs, mask and
upstream gradient, after memory kept from earlier calls was freed. Both libraries keep the memory that they
took, so this is the peak, in the blocks that they ask for. PyTorch's memory-efficient kernel reads one mask
of E² values for all heads and images, and does not write the scores. Apart from the mask, which is not
counted, its memory is therefore not quadratic in E either.

GFLOP/s counts the pairs that the mask allows: 4 H c B pairs forward and 10 H c B pairs backward.
`--device cpu` runs the same script without a GPU, for trying it out.
"""

import argparse
import ctypes
import gc
import json
import os
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from jseg.runtime.command import exit_status, prove_writable

HEADS, CHANNELS, PREFIX, SKIPPED = 12, 64, 11, 10
MOST_REPEATS, QUEUED_SECONDS = 10, 0.05


class Library(NamedTuple):
    """The functions of a library that are timed.

    Attributes:
        forward: () -> a result, without waiting for the device.
        backward: a result -> its gradient, without waiting for the device.
        compute: waits for a list of results or gradients.
        free: returns memory that the library keeps for later to the device.
    """

    forward: Callable[[], Any]
    backward: Callable[[Any], Any]
    compute: Callable[[list[Any]], None]
    free: Callable[[], None]


def allowed_pairs(side: int, regions: int) -> int:
    base = PREFIX + side * side
    return (base - SKIPPED) * base + (2 * side * side + regions * regions if regions else 0)


def dense_mask(side: int, regions: int) -> np.ndarray:
    """Returns the dense additive mask (E, E) float32, 0 or -inf."""
    base, patch = PREFIX + side * side, np.arange(side * side)
    region = base + patch // side * regions // side * regions + patch % side * regions // side
    mask = np.full((base + regions * regions,) * 2, -np.inf, np.float32)
    mask[:base, :base] = 0
    mask[PREFIX + patch, region] = mask[region, PREFIX + patch] = 0
    np.fill_diagonal(mask, 0)
    return mask


def device_bytes(device: str) -> int:
    """Returns the bytes in use on GPU 0 according to the driver, or 0 on the CPU."""
    if device == "cpu":
        return 0
    free, total = ctypes.c_size_t(), ctypes.c_size_t()
    driver = ctypes.CDLL("libcuda.so.1")
    if driver.cuMemGetInfo_v2(ctypes.byref(free), ctypes.byref(total)):
        raise RuntimeError("the driver does not report how much memory is free")
    return total.value - free.value


def prepare_jseg(job: dict) -> Library:
    from jseg.ops import RegionLayout, region_attention
    from jseg.runtime.backend import jt

    jt.flags.use_cuda = int(job["device"] == "cuda")
    if job["dtype"] == "float32" and jt.flags.use_cuda:
        jt.flags.use_tensorcore = 1
    layout = RegionLayout((job["side"],) * 2, (job["regions"],) * 2, PREFIX, SKIPPED)
    shape = (job["batch"], layout.tokens, 3 * HEADS * CHANNELS)
    qkv = jt.array(np.random.default_rng(0).standard_normal(shape).astype(np.float32)).cast(job["dtype"])

    def compute(values: list[Any]) -> None:
        jt.sync(values)
        jt.sync_all(True)

    compute([qkv])
    return Library(
        lambda: region_attention(qkv, HEADS, layout),
        lambda output: jt.grad(output.sum(), [qkv], retain_graph=False)[0],
        compute,
        jt.gc,
    )


def prepare_torch(job: dict) -> Library:
    import torch
    import torch.nn.functional as F

    torch.backends.cuda.matmul.allow_tf32 = True
    dtype, device = getattr(torch, job["dtype"]), job["device"]
    mask = torch.from_numpy(dense_mask(job["side"], job["regions"])).to(device, dtype)
    shape = (job["batch"], len(mask), 3 * HEADS * CHANNELS)
    values = np.random.default_rng(0).standard_normal(shape).astype(np.float32)
    qkv = torch.from_numpy(values).to(device, dtype).requires_grad_()
    upstream = torch.ones(shape[0], shape[1], HEADS * CHANNELS, device=device, dtype=dtype)

    def forward() -> object:
        q, k, v = (x.unflatten(-1, (HEADS, CHANNELS)).transpose(1, 2) for x in qkv.chunk(3, dim=-1))
        return F.scaled_dot_product_attention(q, k, v, attn_mask=mask).transpose(1, 2).flatten(2)

    def compute(values: list[Any]) -> None:  # PyTorch has already started the work
        if device == "cuda":
            torch.cuda.synchronize()

    compute([])
    return Library(
        forward, lambda output: torch.autograd.grad(output, qkv, upstream)[0], compute, torch.cuda.empty_cache
    )


def run_calls(library: Library, calls: int) -> list[float]:
    """Returns [forward, backward] seconds per call, for `calls` calls that are queued together."""
    start = time.perf_counter()
    outputs = [library.forward() for _ in range(calls)]
    library.compute(outputs)
    middle = time.perf_counter()
    library.compute([library.backward(output) for output in outputs])
    return [(middle - start) / calls, (time.perf_counter() - middle) / calls]


def measure(kind: str, job: dict) -> dict:
    """Measures the median seconds of a call, forward and backward, the calls queued, and bytes per call."""
    library = (prepare_torch if kind == "torch" else prepare_jseg)(job)
    for _ in range(2):  # compiles, loads libraries
        run_calls(library, 1)
    gc.collect()
    library.free()
    before = device_bytes(job["device"])
    run_calls(library, 1)
    taken = device_bytes(job["device"]) - before
    once = min(sum(run_calls(library, 1)) for _ in range(3))
    calls = max(1, min(MOST_REPEATS, int(QUEUED_SECONDS / once)))
    run_calls(library, calls)
    seconds = [run_calls(library, calls) for _ in range(job["runs"])]
    return {"seconds": [statistics.median(x) for x in zip(*seconds)], "calls": calls, "bytes": taken}


def work(kind: str, jobs: list[dict]) -> None:
    """Runs jobs in this process and prints an answer for each."""
    for job in jobs:
        try:
            answer = measure(kind, job)
        except (
            RuntimeError,
            MemoryError,
        ) as problem:  # out of memory, for example, while the next job may need less
            answer = {"problem": (str(problem).strip() or "no message").splitlines()[0]}
        print("ANSWER " + json.dumps(answer), flush=True)


def ask(kind: str, jobs: list[dict], torch_python: str | None) -> list[dict]:
    """Returns the answers of a fresh process, and {} for failed jobs, whose messages go to stderr."""
    python = torch_python if kind == "torch" else sys.executable
    environment = {**os.environ, "JSEG_FUSED": "0" if kind == "plain" else "1"}
    done = subprocess.run(
        [python, __file__, "--worker", kind, json.dumps(jobs)],
        env=environment,
        text=True,
        capture_output=True,
    )
    answers = [
        json.loads(row[len("ANSWER ") :]) for row in done.stdout.splitlines() if row.startswith("ANSWER ")
    ]
    last_words = (done.stderr.strip() or "no message").splitlines()[-1]
    answers += [{"problem": last_words}] * (len(jobs) - len(answers))
    for job, answer in zip(jobs, answers):
        if "problem" in answer:
            print(
                f"{kind}, {job['dtype']}, M = {job['regions'] ** 2} failed: {answer['problem']}",
                file=sys.stderr,
            )
    return [{} if "problem" in answer else answer for answer in answers]


def hardware(device: str) -> str:
    if device == "cpu":
        return f"{os.cpu_count()} cores"
    query = ["nvidia-smi", "--query-gpu=name,driver_version", "--format=csv,noheader"]
    return (
        subprocess.run(query, capture_output=True, text=True, check=True).stdout.strip().replace("\n", "; ")
    )


def rows_of(job: dict, answers: dict[str, dict]) -> list[dict]:
    pairs = job["batch"] * HEADS * CHANNELS * allowed_pairs(job["side"], job["regions"])
    rows = []
    for i, (direction, factor) in enumerate((("forward", 4), ("backward", 10))):
        ms = {kind: 1000 * answer["seconds"][i] for kind, answer in answers.items() if answer}
        rows.append(
            {
                **job,
                "direction": direction,
                "milliseconds": ms,
                "calls": {kind: answer["calls"] for kind, answer in answers.items() if answer},
                "mebibytes": {kind: answer["bytes"] / 2**20 for kind, answer in answers.items() if answer},
                "gflops": factor * pairs / ms["fused"] / 1e6 if "fused" in ms else None,
            }
        )
    return rows


def line(row: dict) -> str:
    def text(value: float | None) -> str:
        return "–" if value is None else f"{value:.2f}"

    ms, memory = row["milliseconds"], row["mebibytes"]
    ratio = ms["torch"] / ms["fused"] if "torch" in ms and "fused" in ms else None
    kinds = ("fused", "plain", "torch")
    cells = [
        row["dtype"],
        f"{row['regions'] ** 2}",
        row["direction"],
        *(text(ms.get(kind)) for kind in kinds),
        text(ratio),
        text(row["gflops"]),
        *(text(memory.get(kind)) for kind in kinds),
    ]
    return "| " + " | ".join(cells) + " |"


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--torch-python", help="Python that has PyTorch (default: PyTorch is left out)")
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument(
        "--side", type=int, default=32, help="patches along each side of the image (default 32)"
    )
    parser.add_argument(
        "--regions", type=int, nargs="+", default=[4, 8, 16, 32], help="regions along each side"
    )
    parser.add_argument(
        "--dtypes", nargs="+", choices=("bfloat16", "float16", "float32"), default=["bfloat16", "float32"]
    )
    parser.add_argument("--runs", type=int, default=10)
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    parser.add_argument("--out", type=Path, help="also write the rows to this JSON file")
    options = parser.parse_args(arguments)
    if min(options.batch, options.side, options.runs, *options.regions) < 1:
        parser.error("--batch, --side, --runs and --regions must be at least 1")
    if options.torch_python and shutil.which(options.torch_python) is None:
        parser.error(f"--torch-python {options.torch_python}: no such program")
    return exit_status(lambda: report(options))


def report(options: argparse.Namespace) -> int:
    """Measures, prints the table and returns the exit status.

    Raises:
        OSError: if there is no GPU, or `options.out` cannot be written. Both are checked before measuring.
    """
    if options.out:
        prove_writable(options.out)
    try:
        machine = hardware(options.device)
    except (OSError, subprocess.CalledProcessError) as problem:
        raise OSError(
            "nvidia-smi finds no GPU on this machine; --device cpu runs the script without one"
        ) from problem
    print(f"{machine}; batch {options.batch}, median of {options.runs} runs\n")
    print(
        "| type | M | direction | fused ms | plain ms | torch ms | torch / fused | GFLOP/s | MiB fused | "
        "plain | "
        "torch |\n"
        "|---|---:|---|---:|---:|---:|---:|---:|---:|---:|---:|"
    )
    rows = []
    kinds = ("fused", "plain", "torch") if options.torch_python else ("fused", "plain")
    for dtype in options.dtypes:
        jobs = [
            {
                "dtype": dtype,
                "regions": regions,
                "side": options.side,
                "batch": options.batch,
                "runs": options.runs,
                "device": options.device,
            }
            for regions in options.regions
        ]
        answers = [ask(kind, jobs, options.torch_python) for kind in kinds]
        for job, *of_job in zip(jobs, *answers):
            for row in rows_of(job, dict(zip(kinds, of_job))):
                rows.append(row)
                print(line(row), flush=True)
    if options.out:
        options.out.write_text(json.dumps({"hardware": machine, "rows": rows}, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    if sys.argv[1:2] == ["--worker"]:
        work(sys.argv[2], json.loads(sys.argv[3]))
    else:
        sys.exit(main(sys.argv[1:]))
