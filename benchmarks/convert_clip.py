"""Measures time and peak memory of tools/convert_clip.py on an archive as large as OpenAI's ViT-L/14.

    python benchmarks/convert_clip.py [--layers 24] [--out convert_clip.json]

The script writes a half-precision TorchScript archive of about 860 MB into a temporary folder, with the
writer of the tests. It converts the archive in a separate process and deletes everything. Peak memory is
VmHWM of that process, the largest resident set since its start, including pages of memory-mapped files.
`anonymous` leaves those out. A run of the tool without work is also measured, to show the memory of Python
and NumPy alone. The limit is twice the size of the file. The script needs Linux.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "tests" / "checkpoints")]

from checkpoint_writers import Module, tensor, torch_archive_bytes

from jseg.checkpoints.clip import clip_parameter_names
from jseg.runtime.command import exit_status, prove_writable

WIDTH, TEXT_WIDTH, JOINT, PATCH, POSITIONS, CONTEXT, VOCABULARY, TEXT_LAYERS = (
    1024,
    768,
    768,
    14,
    257,
    77,
    49408,
    12,
)
LIMIT = 2.0  # times the file size
_INTERVAL = 0.02  # seconds between two samples of the process


def shape_of(name: str) -> tuple[int, ...]:
    """Returns the shape of a parameter of ViT-L/14."""
    plain = {
        "visual.class_embedding": (WIDTH,),
        "visual.positional_embedding": (POSITIONS, WIDTH),
        "visual.proj": (WIDTH, JOINT),
        "visual.conv1.weight": (WIDTH, 3, PATCH, PATCH),
        "positional_embedding": (CONTEXT, TEXT_WIDTH),
        "text_projection": (TEXT_WIDTH, JOINT),
        "logit_scale": (),
        "token_embedding.weight": (VOCABULARY, TEXT_WIDTH),
    }
    if name in plain:
        return plain[name]
    width = WIDTH if name.startswith("visual.") else TEXT_WIDTH
    blocks = {
        "attn.in_proj_weight": (3 * width, width),
        "attn.in_proj_bias": (3 * width,),
        "attn.out_proj.weight": (width, width),
        "mlp.c_fc.weight": (4 * width, width),
        "mlp.c_fc.bias": (4 * width,),
        "mlp.c_proj.weight": (width, 4 * width),
    }
    return next((shape for end, shape in blocks.items() if name.endswith(end)), (width,))


def write_archive(path: Path, layers: int) -> int:
    """Writes the archive and returns its size in bytes."""
    pattern = np.random.default_rng(0).standard_normal(1 << 20).astype(np.float16)
    tree: dict = {}
    for name in clip_parameter_names(layers, TEXT_LAYERS):
        shape = shape_of(name)
        *parents, last = name.split(".")
        node = tree
        for parent in parents:
            node = node.setdefault(parent, {})
        node[last] = tensor(np.resize(pattern, shape))
    path.write_bytes(torch_archive_bytes(_module("CLIP", tree), "ViT-L-14", script=True))
    return path.stat().st_size


def _module(name: str, tree: dict) -> Module:
    return Module(
        f"__torch__.model.{name}",
        {
            key: _module(f"part_{key}", value) if isinstance(value, dict) else value
            for key, value in tree.items()
        },
    )


def measure(arguments: list[str]) -> dict[str, float]:
    """Runs the tool and returns seconds, CPU seconds, and peak resident and anonymous megabytes.

    Raises:
        RuntimeError: if the tool failed.
    """
    largest = {"VmHWM": 0, "RssAnon": 0}
    started = time.perf_counter()
    with subprocess.Popen(
        [sys.executable, str(ROOT / "tools" / "convert_clip.py"), *arguments], stdout=subprocess.DEVNULL
    ) as process:
        watcher = threading.Thread(target=_watch, args=(process.pid, largest), daemon=True)
        watcher.start()
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        watcher.join()
    if process.returncode:
        raise RuntimeError(f"convert_clip.py failed with status {process.returncode}")
    return {
        "seconds": time.perf_counter() - started,
        "cpu_seconds": usage.ru_utime + usage.ru_stime,
        "peak_mb": largest["VmHWM"] * 1024 / 1e6,
        "anonymous_mb": largest["RssAnon"] * 1024 / 1e6,
    }


def _watch(pid: int, largest: dict[str, int]) -> None:
    """Records the largest value (kB) of each field of the process's status until the process ends.

    ru_maxrss does not serve, since it starts at the size of this process, of which the new one is first a
    copy.
    """
    while True:
        try:
            lines = Path(f"/proc/{pid}/status").read_text().splitlines()
            command = Path(f"/proc/{pid}/cmdline").read_bytes()
        except OSError:
            return
        fields = dict(line.split(":", 1) for line in lines)
        if "VmHWM" not in fields:  # the process has ended
            return
        if b"tools/convert_clip.py" in command:
            for name in largest:
                largest[name] = max(largest[name], int(fields[name].split()[0]))
        time.sleep(_INTERVAL)


def main(argv: list[str] | None = None) -> int:
    """Runs the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--layers", type=int, default=24, help="number of vision layers; ViT-L/14 has 24")
    parser.add_argument("--out", type=Path, help="also write the results to this JSON file")
    return exit_status(lambda: report(parser.parse_args(argv)))


def report(args: argparse.Namespace) -> int:
    """Measures, prints the results and returns the exit status, which is 1 above the limit.

    Raises:
        OSError: if `args.out` cannot be written, which is checked before measuring.
    """
    if args.out:
        prove_writable(args.out)
    with tempfile.TemporaryDirectory(prefix="jseg-convert-") as folder:
        archive = Path(folder) / "large.pt"
        size = write_archive(archive, args.layers) / 1e6
        idle = measure(["--help"])
        figures = measure([str(archive), str(Path(folder) / "large.safetensors")])
    ratio = figures["peak_mb"] / size
    print(f"archive            {size:10.1f} MB")
    print(
        f"conversion         {figures['seconds']:10.1f} s ({figures['cpu_seconds']:.1f} s of CPU), "
        f"{size / figures['seconds']:.0f} MB/s; reads, hashes, writes, reads back"
    )
    print(
        f"peak resident      {figures['peak_mb']:10.1f} MB = {ratio:.2f}x the file "
        f"({idle['peak_mb']:.1f} MB without work)"
    )
    print(f"peak anonymous     {figures['anonymous_mb']:10.1f} MB (without mapped files)")
    if args.out:
        args.out.write_text(
            json.dumps({"archive_mb": size, "ratio": ratio, "idle_mb": idle["peak_mb"], **figures}, indent=1)
            + "\n"
        )
    return 0 if ratio <= LIMIT else 1


if __name__ == "__main__":
    sys.exit(main())
