"""Jittor on CUDA without a GPU: does it build, import, compile
and dispatch? Minutes of compiling; run by hand.

    python tests/runtime/cuda_dry_run.py FOLDER [--libraries SITE_PACKAGES] [--architecture 120] [--count]

nvcc and g++ are the real ones. The driver and the libraries are stubs that say yes to everything: device
memory is host memory and no kernel runs, so results are not looked at. FOLDER keeps the stubs and a home
folder with Jittor's cache, so that a second run is quick. The first nvcc that is found is used, with the
headers and names of functions of its libraries; those that a toolkit lacks are taken from the wheels in
SITE_PACKAGES (nvidia-cublas, nvidia-curand). The GPU is an sm_90, or what --architecture says: Jittor asks
for code of sm_90 at most, jseg for that of the GPU. Ends with "dry run passed", or the error.

--count prints what training steps and evaluation ask of a GPU instead (`cuda_counts.py`).
"""

import argparse
import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(Path(__file__).parent)]

from cuda_stubs import DRIVER, build, make_toolkit

from jseg.runtime.cuda.toolkit import Place

_PROGRAM = """
import sys
from jseg.runtime.backend import device, jt
assert device.kind == "cuda" and jt.has_cuda and jt.flags.use_cuda == 1, device
print("imported:", device.line, "architectures", jt.flags.cuda_archs, flush=True)
a = jt.array([[1.0, 2.0], [3.0, 4.0]])
for name, value in {"elementwise": a * 2 + 1, "matrix product": a @ a,
                    "bfloat16": a.bfloat16() @ a.bfloat16(),
                    "sum": a.sum(1), "argsort": jt.argsort(a, -1)[1], "random": jt.rand(4),
                    "gradient": jt.grad((a @ a).sum(), [a])[0]}.items():
    value.sync()
    print("dispatched:", name, flush=True)
from jseg.models.checkpointing import checkpointed
from jseg.ops import RegionLayout, attention, dropout, insert_rows, layer_norm, region_attention
layout = RegionLayout((4, 4), (2, 2), 3, skipped=2)
for dtype in ("float32", "bfloat16"):
    x, packed = (jt.ones((1, layout.tokens, width), dtype) for width in (64, 192))
    one = jt.ones((64,), dtype)
    for output, inputs in ((layer_norm(x, one, one), [x, one]), (attention(x, x, x, 1), [x]),
                           (region_attention(packed, 1, layout), [packed]), (dropout(x, 0.1), [x]),
                           (checkpointed(lambda x: layer_norm(x, one, one), x), [x])):
        for value in (output, *jt.grad(output.sum(), inputs)):
            value.sync()
    print("dispatched: operators of jseg in", dtype, flush=True)
import numpy as np
from jseg.ops import GridCopy, class_map, focal_dice
maps, label = jt.ones((2, 3, 4, 4)), jt.zeros((2, 60, 70), "int32")
focal = focal_dice(maps, label).focal
best = class_map([GridCopy(maps.unsqueeze(1), (64, 64), (64, 64), [(0, 0)])], (60, 70))
for value in (focal, *jt.grad(focal.sum(), [maps]), *best):
    value.sync()
print("dispatched: operators on maps", flush=True)
x, rows = (jt.array(np.arange(n, dtype=np.float32).reshape(2, -1, 4)) for n in (40, 16))
changed = insert_rows(x, rows, 1)
gradient, = jt.grad(changed.sum(), [x])
gradient.sync()
# These are copies, which do run.
assert (changed.numpy()[:, 1:3] == rows.numpy()).all(), changed
assert (changed.numpy()[:, 3:] == x.numpy()[:, 1:]).all(), changed
assert (gradient.numpy() == 1).all(), gradient
print("copied: insert_rows, drop_rows", flush=True)
print("dry run passed", flush=True)
"""


def stubbed(folder: Path, wheels: Path | None, architecture: int, home: str) -> dict[str, str]:
    """Makes the stubs, and returns the variables of a process that takes them for a GPU.

    Args:
        home: name of the home folder in `folder`.
    """
    found = sorted(wheels.glob("nvidia/*")) if wheels else []
    toolkit = make_toolkit(
        folder, [Place("wheels", wheel / "include", wheel / "lib") for wheel in found], architecture
    )
    driver = folder / "driver"
    driver.mkdir(exist_ok=True)
    build(["#include <string.h>", DRIVER], driver / "libcuda.so.1", toolkit / "include", architecture)
    (folder / home).mkdir(exist_ok=True)
    return {
        **os.environ,
        "HOME": str(folder / home),
        "CUDA_HOME": str(toolkit),
        "JSEG_DEVICE": "cuda",
        "LD_LIBRARY_PATH": str(driver),
        "PYTHONPATH": str(ROOT),
    }


def main() -> int:
    """Returns 0 if everything succeeded."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path, help="keeps stubs and the home folder with Jittor's cache")
    parser.add_argument("--libraries", type=Path, help="site-packages with wheels of what the toolkit lacks")
    parser.add_argument(
        "--architecture", type=int, default=90, metavar="NUMBER", help="of the GPU (default: 90)"
    )
    parser.add_argument(
        "--count", nargs="*", metavar="SETTING", help="print what steps do instead; options of cuda_counts.py"
    )
    arguments = parser.parse_args()
    counts = arguments.count is not None
    environment = stubbed(
        arguments.folder.resolve(),
        arguments.libraries.resolve() if arguments.libraries else None,
        arguments.architecture,
        "home_of_counts" if counts else "home",
    )
    command = ["-c", _PROGRAM]
    if counts:  # unoptimised, which saves time, and which Jittor's cache does not tell apart
        environment["cc_flags"] = " -O0 "
        command = [str(Path(__file__).with_name("cuda_counts.py")), *arguments.count]
    with subprocess.Popen(
        [sys.executable, *command], env=environment, stdout=subprocess.PIPE, text=True
    ) as run:
        lines = []
        for line in run.stdout or ():
            print(line, end="", flush=True)
            lines.append(line)
    return 0 if "dry run passed\n" in lines else 1


if __name__ == "__main__":
    sys.exit(main())
