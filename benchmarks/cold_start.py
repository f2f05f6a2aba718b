"""Measure the compiling of a first run on a machine: compiler calls and their CPU seconds, by kind.

    python benchmarks/cold_start.py --out cold.json

With an empty home folder, it runs the doctor, draws a small ZeroShapes, and trains and evaluates the demo's
model for a few iterations. A `g++` that comes first on PATH records the CPU seconds of each call.
`--jseg DIR` measures another clone. The user's own cache is neither read nor written.
"""

import argparse
import json
import os
import resource
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
# Runs the compiler and appends its cost to a file, in one unbuffered write, since calls run in parallel.
_WRAPPER = """#!{python} -IS
import json, os, resource, subprocess, sys, time
start = time.time()
status = subprocess.call([{compiler!r}, *sys.argv[1:]])
used = resource.getrusage(resource.RUSAGE_CHILDREN)
end = time.time()
seconds = used.ru_utime + used.ru_stime
call = dict(seconds=seconds, start=start, end=end, status=status, arguments=sys.argv[1:])
with open({log!r}, "ab", buffering=0) as file:
    file.write(json.dumps(call).encode() + b"\\n")
sys.exit(status)
"""
_SOURCES = (".cc", ".cpp", ".c", ".s", ".S")


def kind(arguments: Sequence[str]) -> str:
    """What a call of the compiler is for, by its files."""
    output = arguments[arguments.index("-o") + 1] if "-o" in arguments[:-1] else ""
    sources = [argument for argument in arguments if argument.endswith(_SOURCES)]
    if not output:
        return "questions"
    if "c++-header" in arguments:
        return "precompiled headers"
    if "/jit/" in output:
        return "operators"
    if "/obj_files/" in output:
        return "core"
    return "other parts" if sources else "linking the core"


def summary(calls: Sequence[dict[str, Any]]) -> dict[str, dict[str, float]]:
    """Kind -> number of calls and CPU seconds, and a row for all."""
    rows: dict[str, dict[str, float]] = {}
    for call in calls:
        for name in (kind(call["arguments"]), "all"):
            row = rows.setdefault(name, {"calls": 0, "seconds": 0.0})
            row["calls"] += 1
            row["seconds"] += call["seconds"]
    return {name: rows[name] for name in sorted(rows, key=lambda name: (name == "all", name))}


def run(command: Sequence[str], folder: Path, environment: dict[str, str]) -> float:
    """CPU seconds of a command and all it starts.

    Raises:
        subprocess.CalledProcessError: it failed.
    """
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(command, cwd=folder, env=environment, check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def measure(clone: Path, folder: Path, iterations: int) -> dict[str, Any]:
    """Runs all steps with `folder` as home; see the head of this file."""
    compiler = shutil.which("g++")
    if compiler is None:
        raise FileNotFoundError("no g++ on PATH")
    log, wrapper = folder / "calls.jsonl", folder / "bin" / "g++"
    wrapper.parent.mkdir(parents=True)
    wrapper.write_text(_WRAPPER.format(python=sys.executable, compiler=compiler, log=str(log)))
    wrapper.chmod(0o755)
    environment = {
        name: value for name, value in os.environ.items() if name not in ("JITTOR_HOME", "cc_path")
    }
    environment.update(
        HOME=str(folder), PATH=f"{wrapper.parent}{os.pathsep}{os.environ['PATH']}", PYTHONPATH=str(clone)
    )
    tools, data, work = clone / "tools", folder / "zeroshapes", folder / "work"
    train = [f"{tools}/run_net.py", "--config", f"{clone}/configs/clip_rc/zeroshapes_demo.py"]
    train += ["--task", "train", "--work-dir", str(work), "--set", f"data_root={data}"]
    train += [f"max_iters={iterations}", f"eval_interval={iterations}", f"checkpoint_interval={iterations}"]
    steps = {
        "doctor": [f"{tools}/doctor.py", "--timeout", "7200"],
        "drawing": [
            f"{tools}/make_zeroshapes.py",
            "--out",
            str(data),
            "--train",
            "40",
            "--val",
            "8",
            "--test",
            "4",
        ],
        "training and evaluation": train,
    }
    seconds = {name: run([sys.executable, *command], folder, environment) for name, command in steps.items()}
    calls = [json.loads(line) for line in log.read_text().splitlines()]
    return {"kinds": summary(calls), "steps": seconds, "calls": calls}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--jseg", type=Path, default=ROOT, help="clone to measure (default: this one)")
    parser.add_argument("--iterations", type=int, default=4, help="of the training (default: %(default)s)")
    parser.add_argument("--home", type=Path, help="folder to use and keep, which must be empty")
    parser.add_argument("--out", type=Path, help="JSON file with every call")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="jseg-cold-") as temporary:
        folder = (arguments.home or Path(temporary)).resolve()
        folder.mkdir(parents=True, exist_ok=True)
        found = measure(arguments.jseg.resolve(), folder, arguments.iterations)
    if arguments.out:
        arguments.out.write_text(json.dumps(found, indent=1))
    print("| compiler calls for | calls | CPU seconds |\n|---|---|---|")
    for name, row in found["kinds"].items():
        print(f"| {name} | {row['calls']:.0f} | {row['seconds']:.0f} |")
    for name, used in found["steps"].items():
        print(f"{name}: {used:.0f} CPU seconds in all")


if __name__ == "__main__":
    main()
