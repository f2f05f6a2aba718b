"""Runs the operators' tests as other x86 CPUs would: `python tests/ops/instruction_sets.py [SET ...]`.

Sets are those of `SETS`; all by default. For each one that this CPU has, Jittor, its own operators and those
of jseg are built with -march=SET in a cache of their own (the first time minutes on two cores), and tests/ops
is run. For each one that it lacks, every operator which those tests need is compiled for it as well, but not
loaded. Ends with a table, and with status 1 if a test or a compilation failed.
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
"""Name for -march -> what the CPU must have, as Linux names it.
SSE2, AVX2 and AVX-512: 4, 8 and 16 floats a vector."""

ONEDNN = {"x86-64": "SSE41", "x86-64-v3": "AVX2", "x86-64-v4": "AVX512_CORE"}
"""What oneDNN, which chooses at run time, may use at most."""

# Compiles an operator for the other sets too, where Jittor compiles
# it to assembly; then does what Jittor asked for.
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
    """True if this CPU runs code of the set."""
    return set(SETS[name].split()) <= set(Path("/proc/cpuinfo").read_text().split())


def front_end(folder: Path, others: list[str]) -> Path:
    """A g++ in `folder` that compiles operators for `others` beside what it is asked for."""
    path = folder / "g++"
    path.write_text(
        _FRONT.format(
            python=sys.executable, others=others, compiler=shutil.which("g++"), log=str(folder / "log")
        )
    )
    path.chmod(0o755)
    return path


def run(name: str, compiler: str, arguments: list[str]) -> int:
    """Exit status of tests/ops with everything compiled for a set."""
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
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("sets", nargs="*", metavar="SET", help=f"of {', '.join(SETS)}; all by default")
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
    )  # always the same: it is part of what Jittor compiles
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
