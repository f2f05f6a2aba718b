"""Measures how long gradients of CLIP-RC on ViT-B/16 are under way between hosts, over networks of several
speeds.

    python benchmarks/network.py --hosts 2 --out /tmp/network

The hosts are network namespaces of this machine (tests/distributed/hosts.py), which need root; the kernel
limits their cards with `tc`. One rank on each averages gradients, as they are and compressed: first the calls
of MPI alone, then the whole average of ready gradients. The table also shows the time that the bytes need at
that speed, and the CPU seconds of rounding all numbers and adding them again, which a compressed sum does
twice.
"""

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "tests" / "distributed"), str(ROOT / "benchmarks")]

from distributed import vit_b_shapes
from hosts import Hosts, missing

RATES = {"no limit": 0.0, "10gbit": 1e10, "1gbit": 1e9, "100mbit": 1e8}


def rank_program(repeats: int) -> None:
    """On each rank: prints `RESULT {json}` on rank 0, median seconds with and without compression."""
    from jseg.distributed import Compression, average_gradients, barrier, is_main, mpi, world_size
    from jseg.distributed.compression import add, rounded
    from jseg.runtime.backend import jt

    def median(action: Callable[[], object]) -> float:
        seconds = []
        for _ in range(repeats + 1):
            barrier()
            start = time.perf_counter()
            action()
            seconds.append(time.perf_counter() - start)
        return float(np.median(seconds[1:]))  # without the first, which may compile

    shapes = vit_b_shapes()
    numbers = sum(int(np.prod(shape)) for shape in shapes)
    values = np.random.default_rng(0).standard_normal(numbers).astype(np.float32)
    bits = rounded(values.copy())[: numbers // world_size() * world_size()]
    part = bits[: bits.size // world_size()]
    result: dict[str, float] = {"numbers": numbers}
    result["float32 calls"] = median(lambda: mpi.all_reduce(values, "sum", "a measurement"))
    result["bfloat16 calls"] = median(
        lambda: (mpi.all_to_all(bits, "a measurement"), mpi.all_gather(part, "a measurement"))
    )
    for name, compression in (("float32", None), ("bfloat16", Compression())):
        gradients = [jt.ones(shape).stop_grad() for shape in shapes]
        jt.sync_all(True)
        result[name] = median(
            lambda own=gradients, how=compression: jt.sync(average_gradients(own, compression=how))
        )
    start = time.process_time()
    add(values, rounded(values))
    result["rounding"] = time.process_time() - start
    if is_main():
        print("\nRESULT " + json.dumps(result), flush=True)


def measure(
    hosts: Hosts, count: int, repeats: int, parameters: Sequence[Sequence[str]] = ()
) -> dict[str, float]:
    """Result of `rank_program` on the first `count` hosts, with names and values of Open MPI parameters."""
    options = ["--hostfile", str(hosts.hostfile(count, 1)), "-n", str(count), "--bind-to", "none"]
    options += ["-x", "PATH", "-x", "PYTHONPATH", "--mca", "btl_tcp_if_include", "eth0"]
    options += [word for parameter in parameters for word in ("--mca", *parameter)]
    program = [sys.executable, str(Path(__file__).resolve()), "--ranks", "--repeats", str(repeats)]
    command = ["mpirun", "--prefix", sys.prefix, *options, *program]
    process = hosts.start(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    output, _ = process.communicate()
    lines = [line for line in output.splitlines() if line.startswith("RESULT ")]
    if not lines:
        raise RuntimeError(f"the ranks failed:\n{output[-3000:]}")
    return json.loads(lines[0][7:])


def main(argv: Sequence[str] | None = None) -> int:
    """Prints the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--hosts", type=int, default=2)
    parser.add_argument("--out", type=Path, help="folder for the hosts")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument(
        "--mca",
        nargs=2,
        action="append",
        default=[],
        metavar=("NAME", "VALUE"),
        help="parameter of Open MPI, in place of what jseg sets",
    )
    parser.add_argument("--ranks", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args(argv)
    if options.ranks:
        rank_program(options.repeats)
        return 0
    reason = missing() or ("" if options.out else "--out FOLDER is missing")
    if reason:
        parser.error(reason)
    print(
        "| hosts | network | float32: bytes alone s | calls s | average s "
        "| bfloat16: bytes alone s | calls s | average s | rounding s |\n"
        "|---:|---|---:|---:|---:|---:|---:|---:|---:|"
    )
    with Hosts(options.out, options.hosts) as hosts:
        for rate, bits in RATES.items():
            for host in range(options.hosts):
                hosts.limit(host, rate if bits else "")
            result = measure(hosts, options.hosts, options.repeats, options.mca)
            # Each host sends 2 (n - 1) / n of the numbers, in either way of adding.
            sent = 2 * (options.hosts - 1) / options.hosts * result["numbers"] * 8
            alone = [f"{sent * size / bits:.2f}" if bits else "-" for size in (4, 2)]
            columns = [
                column
                for name, least in zip(("float32", "bfloat16"), alone)
                for column in (least, f"{result[f'{name} calls']:.2f}", f"{result[name]:.2f}")
            ]
            print(
                f"| {options.hosts} | {rate} | {' | '.join(columns)} | {result['rounding']:.2f} |", flush=True
            )
    return 0


if __name__ == "__main__":
    sys.exit(main())
