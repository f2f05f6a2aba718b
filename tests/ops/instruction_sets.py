"""Runs the operators' tests as other x86 CPUs would: `python tests/ops/instruction_sets.py [SET ...]`.

The sets are those of `SETS`, and all of them by default. For each set that this CPU supports, Jittor, its own
operators and those of jseg are built with -march=SET in a separate cache, which takes minutes on two cores
the first time. Then tests/ops is run. For each set that it lacks, every operator that those tests need is
compiled but not loaded. The program prints a table at the end, and exits with status 1 if a test or a
compilation failed.
"""

import argparse
import os
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from jseg.runtime.environment import jittor_cache

SETS = {
    "x86-64": "sse2",
    "x86-64-v3": "avx2 fma bmi1 bmi2 f16c movbe",
    "x86-64-v4": "avx512f avx512bw avx512cd avx512dq avx512vl",
}
"""Name for -march -> features that the CPU must have, as Linux names them.

SSE2, AVX2 and AVX-512 have 4, 8 and 16 floats per vector."""

ONEDNN = {"x86-64": "SSE41", "x86-64-v3": "AVX2", "x86-64-v4": "AVX512_CORE"}
"""The largest instruction set that oneDNN, which chooses at run time, may use."""

# Where Jittor compiles an operator to assembly, this also compiles it for the other sets. Then it does what
# Jittor asked for.
_FRONT = """#!{python}
import os, subprocess, sys
arguments = sys.argv[1:]
if "-S" in arguments and any(word.endswith("_op.cc") for word in arguments):
    place = arguments.index("-o") + 1
    for name in {others!r}:
        words = [*arguments[:place], os.devnull, *arguments[place + 1:], "-march=" + name]
        failed = subprocess.run([{compiler!r}, *words]).returncode
        with open({log!r}, "a") as log:
            log.write(name + (" failed\\n" if failed else " compiled\\n"))
        if failed:
            sys.exit(failed)
os.execv({compiler!r}, [{compiler!r}, *arguments])
"""


def supported(name: str) -> bool:
    """Returns whether this CPU runs code of the set."""
    return set(SETS[name].split()) <= set(Path("/proc/cpuinfo").read_text().split())


def front_end(folder: Path, others: list[str]) -> Path:
    """Writes a g++ into `folder` that compiles operators for `others` in addition to what it is asked for."""
    path = folder / "g++"
    path.write_text(
        _FRONT.format(
            python=sys.executable, others=others, compiler=shutil.which("g++"), log=str(folder / "log")
        )
    )
    path.chmod(0o755)
    return path


def run(name: str, compiler: str, arguments: list[str]) -> int:
    """Runs tests/ops with everything compiled for a set, and returns the exit status."""
    environment = {
        **os.environ,
        "cc_path": compiler,
        "cc_flags": f"-march={name}",
        "cache_name": f"instruction-set-{name}",
        "ONEDNN_MAX_CPU_ISA": ONEDNN[name],
    }
    command = [sys.executable, "-m", "pytest", "tests/ops", *arguments]
    return subprocess.run(command, cwd=ROOT, env=environment).returncode


def main() -> int:
    """Runs the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("sets", nargs="*", metavar="SET", help=f"one of {', '.join(SETS)}; all by default")
    parser.add_argument(
        "--pytest", nargs=argparse.REMAINDER, default=["-q"], help="options for pytest; must come last"
    )
    arguments = parser.parse_args()
    unknown = set(arguments.sets) - set(SETS)
    if unknown:
        parser.error(f"unknown: {', '.join(sorted(unknown))}; known: {', '.join(SETS)}")
    chosen = arguments.sets or list(SETS)
    lacking = [name for name in chosen if not supported(name)]
    able = [name for name in chosen if name not in lacking] or ["x86-64"]
    outcomes: dict[str, str] = {}
    folder = (
        jittor_cache() / "jseg" / "instruction-sets"
    )  # always the same path, since it is part of what Jittor compiles
    folder.mkdir(parents=True, exist_ok=True)
    log = folder / "log"
    log.write_text("")
    for turn, one in enumerate(able):
        compiler = str(front_end(folder, lacking)) if lacking and not turn else str(shutil.which("g++"))
        status = run(one, compiler, arguments.pytest)
        outcomes[one] = "compiled and run: passed" if status == 0 else f"FAILED, status {status}"
    counts = Counter(log.read_text().splitlines())
    for one in lacking:
        failed = counts[f"{one} failed"]
        outcomes[one] = (
            f"FAILED to compile {failed}" if failed else f"{counts[f'{one} compiled']} operators compiled"
        )
    for one in chosen:
        print(f"{one:10} {outcomes[one]}")
    return int(any("FAILED" in text or text.startswith("0 ") for text in outcomes.values()))


if __name__ == "__main__":
    sys.exit(main())
