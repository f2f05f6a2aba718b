"""Proves on a machine with an NVIDIA GPU that jseg computes there what it computes elsewhere, and how fast.

    python tools/gpu_check.py [--out gpu_check.json]

One command for a fresh machine, meant to take less than 8 minutes on one with 16 cores: finds CUDA, builds Jittor and
all kernels, compares operators in float32, TF32 and bfloat16 with float64, runs the tests of the CUDA kernels, compares
golden vectors, trains ZeroShapes for 200 steps beside the recorded curve of a processor, and prints pictures a second,
also of the same layers in PyTorch if this Python, or the one that JSEG_TORCH_PYTHON names, has it. All else it needs is
in the repository. Nearly all of the time is nvcc. The other tests of the operators compute on the processor whatever
the machine, and are left out. Stages that fail do not stop the others, and what is done is printed, and written, at
once. Exit status 0 if all passed, 1 if not, 2 without a usable GPU.

--dry-run goes through the same stages on the processor, with small sizes: it tests this script, not a GPU.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Callable, Dict, List, Optional, Sequence, Tuple

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from jseg.runtime.command import exit_status, prove_writable  # noqa: E402
from jseg.runtime.cuda.report import cuda_lines  # noqa: E402
from jseg.runtime.device import PRECISIONS, select_device  # noqa: E402

STAGES = ROOT / "tools" / "gpu_check_stages.py"
CURVE = ROOT / "tests" / "golden" / "zeroshapes_curve.json"
MARK = "RESULT "
TORCH = "torch"
STAGE_SECONDS = 900
CURVE_TOLERANCES = {"float32": 0.002, "bfloat16": 0.05}
"""Largest relative difference of the mean loss of any 20 steps from the recorded curve. On a processor, kernels that
add in another order moved it by 0.0001, operands rounded to bfloat16 by 0.026."""

WINDOW = 20
Outcome = Tuple[bool, List[str], Dict[str, Any]]


class StageFailed(Exception):
    """A stage ended without a result; the message is its last line."""


def run(command: List[str], precision: str = "float32", device: str = "cuda", python: str = sys.executable) -> str:
    """The output of a Python program started for a device and precision.

    Raises:
        StageFailed: it cannot be started, or took too long.
    """
    environment = {**os.environ, "JSEG_DEVICE": device, "JSEG_PRECISION": precision, "PYTHONPATH": str(ROOT)}
    try:
        done = subprocess.run([python, *command], env=environment, cwd=ROOT, stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT, text=True, errors="replace", timeout=STAGE_SECONDS)
    except subprocess.TimeoutExpired as error:
        raise StageFailed(f"not finished after {STAGE_SECONDS} s") from error
    except OSError as error:
        raise StageFailed(f"{python} cannot be started: {error.strerror}") from error
    return done.stdout


def stage(name: str, precision: str, dry: bool) -> Dict[str, Any]:
    """The result of one stage of `gpu_check_stages.py`, or of `gpu_check_torch.py`.

    Raises:
        StageFailed: it broke off.
    """
    command = [str(STAGES), name] if name != TORCH else [str(STAGES.with_name("gpu_check_torch.py"))]
    output = run([*command, *(["--small"] if dry else [])], precision, "cpu" if dry else "cuda",
                 torch_python() if name == TORCH else sys.executable)
    for line in reversed(output.splitlines()):
        if line.startswith(MARK):
            return json.loads(line[len(MARK):])
    lines = [line.strip() for line in output.splitlines() if line.strip()] or ["no output"]
    raise StageFailed(next((line for line in reversed(lines) if "rror" in line), lines[-1])[:300])


def check_build(dry: bool) -> Outcome:
    """Jittor imports and computes on the device."""
    result = stage("import", "float32", dry)
    return result["kind"] == ("cpu" if dry else "cuda"), [f"{result['device']}: {result['seconds']:.0f} s"], result


def check_kernels(dry: bool) -> Outcome:
    """Nearly all that later stages compute with is compiled, 16 at a time; they would do it one by one."""
    result = stage("kernels", "float32", dry)
    return True, [f"{result['built']} operators built: {result['seconds']:.0f} s"], result


def check_tests(dry: bool) -> Outcome:
    """The tests of the CUDA kernels, which no other machine can run."""
    chosen = "tests/ops/test_basic_ops.py" if dry else "tests/ops/test_cuda_device.py"
    output = run(["-m", "pytest", "-q", "-x" if dry else "--maxfail=20", "-p", "no:cacheprovider", chosen],
                 device="cpu" if dry else "cuda")
    lines = output.strip().splitlines() or ["no output"]
    passed = " passed" in lines[-1] and " failed" not in lines[-1] and " error" not in lines[-1]
    failures = [line for line in lines if line.startswith(("FAILED", "ERROR"))]
    return passed, [f"{chosen}: {lines[-1].strip('= ')}", *failures], {"summary": lines[-1]}


def check_operators(dry: bool) -> Outcome:
    """Errors of single operators in each precision."""
    results = _in_each_precision("ops", dry)
    names = list(next(iter(results.values()))["errors"])
    lines = [f"{'largest relative error':24}" + "".join(f"{precision:>12}" for precision in results)]
    for name in names:
        lines.append(f"{name:24}" + "".join(f"{result['errors'][name]:12.1e}" for result in results.values()))
    lines.append(f"{'tolerance':24}" + "".join(f"{result['tolerance']:12.0e}" for result in results.values()))
    return not any(result["failed"] for result in results.values()), lines, results


def check_golden(dry: bool) -> Outcome:
    """Recorded outputs of the released code in each precision."""
    results, lines = _in_each_precision("golden", dry), []
    for precision, result in results.items():
        for name, case in result["cases"].items():
            within = f"{case['quantities'] - len(case['failed'])} of {case['quantities']} within tolerance"
            lines.append(f"{precision:9} {name:9} {within}, worst output {case['worst_output']:.1e}, "
                         f"worst gradient {case['worst_gradient']:.1e}")
            lines += [f"          beyond: {entry}" for entry in case["failed"][:5]]
    return not any(result["failed"] for result in results.values()), lines, results


def check_training(dry: bool) -> Outcome:
    """200 steps on ZeroShapes, without dropout, beside the recorded losses of a processor."""
    recorded = json.loads(CURVE.read_text())["total"]
    precisions = ["float32"] if dry else list(CURVE_TOLERANCES)
    passed, lines = True, []
    with tempfile.TemporaryDirectory(prefix="jseg-gpu-check-") as folder:
        data = os.path.join(folder, "data")
        run(["tools/make_zeroshapes.py", "--out", data, *json.loads(CURVE.read_text())["data"]])
        curves = _at_once(lambda precision: train(data, os.path.join(folder, precision), len(recorded), precision,
                                                  "cpu" if dry else "cuda"), precisions)
    for precision, curve in curves.items():
        difference = curve_difference(curve, recorded)
        passed = passed and difference <= CURVE_TOLERANCES[precision]
        lines.append(f"{precision:9} loss {curve[0]:.4f} -> {curve[-1]:.4f} (recorded {recorded[0]:.4f} -> "
                     f"{recorded[-1]:.4f}); means of {WINDOW} steps differ by {100 * difference:.2f} % at most")
    return passed, lines, curves


def train(data: str, work_dir: str, steps: int, precision: str, device: str) -> List[float]:
    """The total loss of each step.

    Raises:
        StageFailed: the training broke off.
    """
    options = json.loads(CURVE.read_text())["options"]
    output = run(["tools/run_net.py", "--config", "configs/clip_rc/zeroshapes_inductive.py", "--work-dir", work_dir,
                  "--set", f"max_iters={steps}", f"data_root={data}", *options], precision, device)
    log = Path(work_dir) / "log.jsonl"
    curve = [json.loads(line)["total"] for line in log.read_text().splitlines()] if log.is_file() else []
    if len(curve) != steps:
        raise StageFailed((output.strip().splitlines() or ["no output"])[-1][:300])
    return curve


def curve_difference(curve: List[float], recorded: List[float]) -> float:
    """Largest relative difference between means of `WINDOW` steps."""
    differences = []
    for start in range(0, len(curve) - WINDOW + 1, WINDOW):
        ours, theirs = (sum(values[start:start + WINDOW]) / WINDOW for values in (curve, recorded))
        differences.append(abs(ours - theirs) / abs(theirs))
    return max(differences) if all(value == value for value in curve) else float("inf")


def check_speed(dry: bool) -> Outcome:
    """Pictures a second and memory in each precision, beside the same layers in PyTorch where that is installed."""
    lines = [f"{'setting':12}{'batch':>6}{'precision':>11}{'train/s':>10}{'infer/s':>10}{'GPU MiB':>10}"
             f"{'PyTorch: train/s':>18}{'infer/s':>10}{'GPU MiB':>10}"]
    results: Dict[str, Any] = {}
    for precision in _precisions(dry):
        ours = stage("benchmark", precision, dry)
        try:
            theirs = stage(TORCH, precision, dry)
        except StageFailed as error:
            theirs = {"rows": [None] * len(ours["rows"]), "problem": str(error)}
        results[precision] = {"jseg": ours, "torch": theirs}
        for row, other in zip(ours["rows"], theirs["rows"]):
            lines.append(f"{row['setting']:12}{row['batch']:6}{precision:>11}{_speeds(row, 10)}{_speeds(other, 18)}")
    for precision, result in results.items():
        if "problem" in result["torch"]:
            lines.append(f"{precision}: no comparison with PyTorch in {torch_python()}: {result['torch']['problem']}")
        for row in result["jseg"]["rows"]:
            lines.append(f"{row['setting']:12}{precision:>17}  {_step_line(row['step'], dry)}")
    return True, lines, results


def _step_line(step: Dict[str, Any], dry: bool) -> str:
    shares = ", ".join(f"{name} {100 * share:.1f} %" for name, share in step["shares"].items() if share)
    strays = [] if dry else step["on_processor"]
    return (f"operators of a training step {step['milliseconds']:.0f} ms: {shares or 'none of our kernels'}"
            + (f"; ON THE PROCESSOR: {', '.join(strays[:5])}" if strays else ""))


def _speeds(row: Optional[Dict[str, Any]], first: int) -> str:
    if row is None:
        return f"{'-':>{first}}{'-':>10}{'-':>10}"
    memory = f"{row['gpu_memory_mb']:.0f}" if row["gpu_memory_mb"] else "-"
    return f"{row['train']:{first}.2f}{row['infer']:10.2f}{memory:>10}"


def torch_python() -> str:
    """The Python that has PyTorch: JSEG_TORCH_PYTHON, else this one."""
    return os.environ.get("JSEG_TORCH_PYTHON") or sys.executable


def _in_each_precision(name: str, dry: bool) -> Dict[str, Any]:
    return _at_once(lambda precision: stage(name, precision, dry), _precisions(dry))


def _at_once(work: Callable[[str], Any], precisions: Sequence[str]) -> Dict[str, Any]:
    """The results of `work` for each precision, by processes side by side: what one has compiled serves the others."""
    with ThreadPoolExecutor(len(precisions)) as pool:
        return dict(zip(precisions, pool.map(work, precisions)))


def _precisions(dry: bool) -> Tuple[str, ...]:
    return ("float32",) if dry else PRECISIONS


CHECKS: Dict[str, Callable[[bool], Outcome]] = {
    "build": check_build, "kernels": check_kernels, "operators": check_operators, "tests": check_tests,
    "golden": check_golden, "training": check_training, "speed": check_speed}


def check(names: Sequence[str], dry: bool, out: Optional[Path]) -> int:
    """Runs checks of these names and prints them; 0 if all passed."""
    start, report, failed = time.perf_counter(), {}, []
    for name in names:
        began = time.perf_counter()
        try:
            passed, lines, details = CHECKS[name](dry)
        except StageFailed as error:
            passed, lines, details = False, [str(error)], {}
        seconds = time.perf_counter() - began
        print(f"{'passed' if passed else 'FAILED'}  {name} ({seconds:.0f} s)", flush=True)
        for line in lines:
            print(f"        {line}", flush=True)
        report[name] = {"passed": passed, "seconds": seconds, "details": details}
        failed += [] if passed else [name]
        if out:
            out.write_text(json.dumps(report, indent=1) + "\n")
    print(f"{'dry run ' if dry else ''}{'FAILED: ' + ', '.join(failed) if failed else 'passed'} "
          f"after {time.perf_counter() - start:.0f} s", flush=True)
    return 1 if failed else 0


def main(argv: Optional[List[str]] = None) -> int:
    """0 if all passed, 1 if something failed, 2 without a usable GPU or for a bad option."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dry-run", action="store_true", help="small sizes on the processor, to test this script")
    parser.add_argument("--only", nargs="+", choices=CHECKS, default=list(CHECKS), metavar="STAGE",
                        help=f"run these stages alone: {', '.join(CHECKS)}")
    parser.add_argument("--out", type=Path, metavar="PATH", help="also write all results to this JSON file")
    arguments = parser.parse_args(argv)
    return exit_status(lambda: start(arguments))


def start(arguments: argparse.Namespace) -> int:
    """Looks for a GPU and runs the checks; the exit status.

    Raises:
        ValueError: no usable GPU. OSError: the report cannot be written.
    """
    if arguments.out:
        prove_writable(arguments.out)
    if not arguments.dry_run:
        for line in cuda_lines():
            print(f"{line.name:10} {line.text}", flush=True)
        try:
            select_device("cuda")
        except ValueError as error:
            raise ValueError(f"this machine has no usable GPU ({error}); --dry-run tests the script on the processor"
                             ) from error
    return check(arguments.only, arguments.dry_run, arguments.out)


if __name__ == "__main__":
    sys.exit(main())
