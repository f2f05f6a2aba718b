"""Times region attention on a GPU against PyTorch with the same dense additive mask.

    python benchmarks/attention_cuda.py [--torch-python PYTHON] [--batch 16] [--regions 4 8 16 32]
                                        [--dtypes bfloat16 float32] [--runs 10] [--out attention_cuda.json]

12 heads of 64 channels, 32 x 32 patches, 10 prompts; M = regions². Fused: `jseg.ops.region_attention`. Plain: the same
with JSEG_FUSED=0 (products, softmax and the dense mask in Jittor). PyTorch: `scaled_dot_product_attention`, from the
interpreter given by --torch-python. float32 allows TF32 in all three. A line is one process: 3 calls to warm up, then
`runs` calls, each between two synchronisations; medians. Memory is what the process took from the driver beyond
inputs, mask and upstream gradient, after the timing: both libraries keep what they took, so that is the peak. GFLOP/s
counts the pairs that the mask allows: 4 H c B pairs forward, 10 H c B pairs backward. `--device cpu` runs the same
script without a GPU, to try it.
"""

import argparse
import ctypes
import json
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Callable, Dict, List, Optional, Tuple

import numpy as np

HEADS, CHANNELS, PREFIX, SKIPPED = 12, 64, 11, 10


def allowed_pairs(side: int, regions: int) -> int:
    base = PREFIX + side * side
    return (base - SKIPPED) * base + (2 * side * side + regions * regions if regions else 0)


def dense_mask(side: int, regions: int) -> np.ndarray:
    """(E, E) float32, 0 or -inf."""
    base, patch = PREFIX + side * side, np.arange(side * side)
    region = base + patch // side * regions // side * regions + patch % side * regions // side
    mask = np.full((base + regions * regions,) * 2, -np.inf, np.float32)
    mask[:base, :base] = 0
    mask[PREFIX + patch, region] = mask[region, PREFIX + patch] = 0
    np.fill_diagonal(mask, 0)
    return mask


def device_bytes(device: str) -> int:
    """Bytes that are taken on GPU 0, as the driver counts them; 0 on the CPU."""
    if device == "cpu":
        return 0
    free, total = ctypes.c_size_t(), ctypes.c_size_t()
    driver = ctypes.CDLL("libcuda.so.1")
    if driver.cuMemGetInfo_v2(ctypes.byref(free), ctypes.byref(total)):
        raise RuntimeError("the driver does not tell how much memory is free")
    return total.value - free.value


def prepare_jseg(job: dict) -> Tuple[Callable[[], object], Callable[[object], None], Callable[[], None]]:
    """forward() -> result, backward(result), wait()."""
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
    from jseg.ops import RegionLayout, region_attention
    from jseg.runtime.backend import jt

    jt.flags.use_cuda = int(job["device"] == "cuda")
    if job["dtype"] == "float32" and jt.flags.use_cuda:
        jt.flags.use_tensorcore = 1
    layout = RegionLayout((job["side"],) * 2, (job["regions"],) * 2, PREFIX, SKIPPED)
    shape = (job["batch"], layout.tokens, 3 * HEADS * CHANNELS)
    qkv = jt.array(np.random.default_rng(0).standard_normal(shape).astype(np.float32)).cast(job["dtype"])
    upstream = jt.ones((shape[0], shape[1], HEADS * CHANNELS), dtype=job["dtype"])

    def forward() -> object:
        output = region_attention(qkv, HEADS, layout)
        output.sync()
        return output

    def backward(output: object) -> None:
        jt.grad((output * upstream).sum(), [qkv], retain_graph=False)[0].sync()

    jt.sync([qkv, upstream])
    return forward, backward, lambda: jt.sync_all(True)


def prepare_torch(job: dict) -> Tuple[Callable[[], object], Callable[[object], None], Callable[[], None]]:
    """forward() -> result, backward(result), wait()."""
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

    def backward(output: object) -> None:
        torch.autograd.grad(output, qkv, upstream)

    return forward, backward, torch.cuda.synchronize if device == "cuda" else (lambda: None)


def work(kind: str, job: dict) -> None:
    """Runs one job in this process and prints its answer."""
    forward, backward, wait = (prepare_torch if kind == "torch" else prepare_jseg)(job)
    wait()
    before, seconds = device_bytes(job["device"]), []
    for run in range(3 + job["runs"]):
        start = time.perf_counter()
        output = forward()
        wait()
        middle = time.perf_counter()
        backward(output)
        wait()
        if run >= 3:
            seconds.append((middle - start, time.perf_counter() - middle))
    print("ANSWER " + json.dumps({"seconds": [statistics.median(x) for x in zip(*seconds)],
                                  "bytes": device_bytes(job["device"]) - before}))


def ask(kind: str, job: dict, torch_python: Optional[str]) -> dict:
    """The answer of a fresh process; {} with its last words on stderr where it failed, out of memory for instance."""
    python = torch_python if kind == "torch" else sys.executable
    environment = {**os.environ, "JSEG_FUSED": "0" if kind == "plain" else "1"}
    done = subprocess.run([python, __file__, "--worker", kind, json.dumps(job)], env=environment, text=True,
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    answers = [row for row in done.stdout.splitlines() if row.startswith("ANSWER ")]
    if done.returncode or not answers:
        print(f"{kind} failed: {(done.stderr.strip() or 'no message').splitlines()[-1]}", file=sys.stderr)
        return {}
    return json.loads(answers[-1][len("ANSWER "):])


def hardware(device: str) -> str:
    if device == "cpu":
        return f"{os.cpu_count()} cores"
    query = ["nvidia-smi", "--query-gpu=name,driver_version", "--format=csv,noheader"]
    return subprocess.run(query, capture_output=True, text=True, check=True).stdout.strip().replace("\n", "; ")


def rows_of(job: dict, answers: Dict[str, dict]) -> List[dict]:
    pairs = job["batch"] * HEADS * CHANNELS * allowed_pairs(job["side"], job["regions"])
    rows = []
    for i, (direction, factor) in enumerate((("forward", 4), ("backward", 10))):
        ms = {kind: 1000 * answer["seconds"][i] for kind, answer in answers.items() if answer}
        rows.append({**job, "direction": direction, "milliseconds": ms,
                     "mebibytes": {kind: answer["bytes"] / 2**20 for kind, answer in answers.items() if answer},
                     "gflops": factor * pairs / ms["fused"] / 1e6 if "fused" in ms else None})
    return rows


def line(row: dict) -> str:
    def text(value: Optional[float]) -> str:
        return "–" if value is None else f"{value:.2f}"

    ms, memory = row["milliseconds"], row["mebibytes"]
    ratio = ms["torch"] / ms["fused"] if "torch" in ms and "fused" in ms else None
    kinds = ("fused", "plain", "torch")
    cells = [row["dtype"], f"{row['regions'] ** 2}", row["direction"], *(text(ms.get(kind)) for kind in kinds),
             text(ratio), text(row["gflops"]), *(text(memory.get(kind)) for kind in kinds)]
    return "| " + " | ".join(cells) + " |"


def main(arguments: List[str]) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--torch-python", help="interpreter of an environment that has PyTorch (default: left out)")
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--side", type=int, default=32, help="patches along a side of the picture (default 32)")
    parser.add_argument("--regions", type=int, nargs="+", default=[4, 8, 16, 32], help="regions along a side")
    parser.add_argument("--dtypes", nargs="+", choices=("bfloat16", "float16", "float32"),
                        default=["bfloat16", "float32"])
    parser.add_argument("--runs", type=int, default=10)
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    parser.add_argument("--out", type=Path, help="also write the rows to this JSON file")
    options = parser.parse_args(arguments)
    if min(options.batch, options.side, options.runs, *options.regions) < 1:
        parser.error("--batch, --side, --runs and --regions must be at least 1")
    try:
        print(f"{hardware(options.device)}; batch {options.batch}, median of {options.runs} runs\n")
    except (OSError, subprocess.CalledProcessError):
        print("error: nvidia-smi finds no GPU on this machine; --device cpu runs the script without one",
              file=sys.stderr)
        return 2
    print("| type | M | direction | fused ms | plain ms | torch ms | torch / fused | GFLOP/s | MiB fused | plain | "
          "torch |\n"
          "|---|---:|---|---:|---:|---:|---:|---:|---:|---:|---:|")
    rows = []
    for dtype in options.dtypes:
        for regions in options.regions:
            job = {"dtype": dtype, "regions": regions, "side": options.side, "batch": options.batch,
                   "runs": options.runs, "device": options.device}
            kinds = ("fused", "plain", "torch") if options.torch_python else ("fused", "plain")
            for row in rows_of(job, {kind: ask(kind, job, options.torch_python) for kind in kinds}):
                rows.append(row)
                print(line(row), flush=True)
    if options.out:
        options.out.write_text(json.dumps({"hardware": hardware(options.device), "rows": rows}, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    if sys.argv[1:2] == ["--worker"]:
        work(sys.argv[2], json.loads(sys.argv[3]))
    else:
        sys.exit(main(sys.argv[1:]))
