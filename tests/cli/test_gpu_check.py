"""tools/gpu_check.py on a machine without a GPU: its output, that it can fail, and that it ends."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from concurrent.futures import Future
from pathlib import Path
from typing import NamedTuple

import pytest

from jseg.cli import gpu_check
from jseg.gpu_check import checks, golden, processes, rounds, speed, speed_check, training
from jseg.gpu_check import job as jobs
from jseg.ops.dispatch import include_headers
from jseg.runtime.command import INTERRUPTED

ROOT = Path(__file__).resolve().parents[2]

STEP = {
    "milliseconds": 100.0,
    "shares": {
        "region attention": 0.2,
        "attention": 0.25,
        "layer norm": 0.1,
        "losses": 0.1,
        "class map": 0.05,
        "dropout": 0.1,
        "AdamW": 0.02,
    },
    "on_cpu": [],
    "cpu_share": 0.0,
}
ROW = {
    "setting": "VOC",
    "batch": 16,
    "train": 1.0,
    "infer": 2.0,
    "gpu_memory_mb": 5.0,
    "step": STEP,
    "cuda_kernels": True,
}


@pytest.fixture
def job(tmp_path):
    """Arguments of a check on a GPU."""
    data = Future()
    data.set_result(str(tmp_path / "data"))
    return jobs.Job(False, processes.Processes(), time.monotonic() + 60, tmp_path, data)


def answer(monkeypatch, answers):
    """Programs print the entries of `answers` by program or stage, for each precision or for all."""

    def results(self, program, *arguments, precision="float32", **_):
        found = answers[arguments[0] if arguments else program]
        found = found.get(precision, found) if isinstance(found, dict) else found
        if isinstance(found, Exception):
            raise found
        return found if isinstance(found, list) else [found]

    monkeypatch.setattr(jobs.Job, "results", results)


def stages_that(verdict, text):
    """Names of the stages that were printed as "passed" or "FAILED"."""
    return set(re.findall(rf"^{verdict} +(\w+)", text, re.MULTILINE))


def test_without_a_gpu_it_says_so_in_one_sentence(monkeypatch, capsys):
    def no_gpu(name):
        raise ValueError(f"--device {name}: no CUDA driver")

    monkeypatch.setattr(gpu_check, "select_device", no_gpu)
    assert gpu_check.main([]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1 and "--dry-run" in error
    assert "--device cuda: no CUDA driver" in error


def test_a_report_that_cannot_be_written_is_told_first(tmp_path, capsys):
    assert gpu_check.main(["--dry-run", "--out", str(tmp_path)]) == 2
    captured = capsys.readouterr()
    assert captured.err.startswith("error: ") and captured.err.count("\n") == 1 and not captured.out


@pytest.mark.slow
def test_dry_run_computes_in_processes_of_its_own(tmp_path, capsys):
    """Jittor is imported, kernels are built, operators compared
    with NumPy, and a recorded CLIP computed again."""
    out = tmp_path / "report.json"
    assert (
        gpu_check.main(["--dry-run", "--only", "build", "kernels", "operators", "golden", "--out", str(out)])
        == 0
    )
    text = capsys.readouterr().out
    assert stages_that("passed", text) == {"build", "kernels", "operators", "golden"} and "FAILED" not in text
    assert "passed" in text.splitlines()[-1] and "region attention" in text
    report = json.loads(out.read_text())
    assert re.search(rf"\b{report['kernels']['details']['built']}\b", text)
    assert report["build"]["details"]["kind"] == "cpu"
    assert set(report["operators"]["details"]["float32"]["errors"]) == {
        "linear",
        "attention",
        "causal attention",
        "region attention",
        "layer_norm",
    }


def test_operators_on_the_gpu_of_this_machine():
    """Elsewhere in `make test` the CPU computes."""
    from jseg.runtime.cuda.detect import detect
    from jseg.runtime.cuda.driver import query_driver

    driver = query_driver()
    problem = driver.problem or detect(driver).problem
    if problem:
        pytest.skip(problem)
    done = subprocess.run(
        [sys.executable, "tools/gpu_check.py", "--only", "build", "kernels", "tests"],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert done.returncode == 0, done.stdout[-4000:]


def test_every_stage_has_its_time():
    names = [name for stages_of_round, _ in rounds.ROUNDS for name in stages_of_round]
    parts = [part for _, part in rounds.ROUNDS]
    assert names == list(checks.CHECKS) and parts == sorted(parts) and parts[-1] == 1


def test_time_that_runs_out_is_a_failure_of_each_stage(capsys):
    start = time.monotonic()
    assert gpu_check.main(["--dry-run", "--limit", "0.5", "--only", "build", "golden", "speed"]) == 1
    assert time.monotonic() - start < 30
    lines = capsys.readouterr().out.splitlines()
    assert "FAILED" in lines[-1] and "build, golden, speed" in lines[-1]
    assert any(re.search(r"\bbuild: .*\b0 s", line) for line in lines)


def test_failures_are_told_and_do_not_stop_the_rest(monkeypatch, capsys):
    operators = {"errors": {"linear": 0.5}, "tolerance": 1e-5, "failed": ["linear"]}
    answer(
        monkeypatch,
        {
            "import": {"device": "CPU", "kind": "cpu", "seconds": 1.0},
            "ops": operators,
            "golden": processes.StageFailed("RuntimeError: nvcc was killed"),
            "speed": [ROW],
            "pytorch": processes.StageFailed("no torch"),
        },
    )
    monkeypatch.setitem(checks.CHECKS, "kernels", lambda job: {}["built"])
    assert gpu_check.main(["--dry-run", "--only", "build", "kernels", "operators", "golden", "speed"]) == 1
    text = capsys.readouterr().out
    assert stages_that("passed", text) == {"build", "speed"}
    assert stages_that("FAILED", text) == {"kernels", "operators", "golden"}
    assert re.search(r"\boperators: float32: linear\b.*\b5\.0e-01\b.*\b1e-05\b", text)
    assert "golden: float32: RuntimeError: nvcc was killed" in text
    assert "kernels: KeyError: 'built'" in text
    assert re.search(r"\b100 ms\b.*\bregion attention 20\.0 %, attention 25\.0 %", text)
    assert "speed: PyTorch: float32: no torch" in text
    last = text.splitlines()[-1]
    assert "FAILED" in last and "speed (PyTorch)" in last and last.count("speed") == 1 and "build" not in last
    assert all(name in last for name in ("kernels", "operators", "golden"))


def test_one_precision_that_fails_leaves_the_others(monkeypatch, job):
    good = {"errors": {"linear": 1e-7}, "tolerance": 1e-5, "failed": []}
    answer(monkeypatch, {"ops": {"float32": good, "tf32": KeyError("linear"), "bfloat16": good}})
    outcome = checks.check_operators(job)
    assert set(outcome.details) == {"float32", "bfloat16"} and outcome.failures == [
        "tf32: KeyError: 'linear'"
    ]


def test_a_run_cut_short_leaves_a_report(monkeypatch, tmp_path):
    def interrupt(job):
        raise KeyboardInterrupt

    monkeypatch.setitem(checks.CHECKS, "build", lambda job: jobs.Outcome([], {"kind": "cpu"}))
    monkeypatch.setitem(checks.CHECKS, "operators", interrupt)
    arguments = ["--dry-run", "--only", "build", "operators", "--out", str(tmp_path / "report.json")]
    assert gpu_check.main(arguments) == INTERRUPTED
    assert list(json.loads((tmp_path / "report.json").read_text())) == ["build"]


GRANDCHILD = """
import subprocess, sys, time
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"], start_new_session=True)
open(sys.argv[1], "w").write(str(child.pid))
print('RESULT {"written": true}', flush=True)
time.sleep(float(sys.argv[2]))
"""


def alive(process: int) -> bool:
    try:
        return Path(f"/proc/{process}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


@pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="needs /proc")
def test_nothing_outlives_a_process(tmp_path):
    """Whether it ends or time is up; what it had printed is kept."""
    written, command = tmp_path / "child", [sys.executable, "-c", GRANDCHILD, str(tmp_path / "child")]
    processes.Processes().run([*command, "0"], {}, time.monotonic() + 60)
    assert not alive(int(written.read_text()))
    with pytest.raises(processes.StageFailed, match=r"\b5 s") as failure:
        processes.Processes().run([*command, "600"], {}, time.monotonic() + 5)
    assert not alive(int(written.read_text())) and failure.value.results == [{"written": True}]


@pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="needs /proc")
def test_nothing_outlives_gpu_check(tmp_path):
    """A batch system ends it during a stage."""
    written = tmp_path / "child"
    program = (
        "import sys\nfrom jseg.cli import gpu_check\nfrom jseg.gpu_check import checks\n"
        f"command = [sys.executable, '-c', {GRANDCHILD!r}, {str(written)!r}, '600']\n"
        "checks.CHECKS['build'] = lambda job: job.run(command)\n"
        "sys.exit(gpu_check.main(['--dry-run', '--only', 'build']))\n"
    )
    process = subprocess.Popen([sys.executable, "-c", program], env={**os.environ, "PYTHONPATH": str(ROOT)})
    give_up = time.monotonic() + 60
    while time.monotonic() < give_up and not (written.is_file() and written.read_text()):
        time.sleep(0.1)
    child = int(written.read_text())
    assert alive(child)
    process.send_signal(signal.SIGTERM)
    assert process.wait(30) == 143 and not alive(child)


def test_all_operators_are_tested_in_each_precision(monkeypatch, job):
    commands = []

    def run(self, command, precision="float32"):
        commands.append((precision, command[-1]))
        return "SKIPPED [2] tests/ops/x.py:1: why\n46 skipped in 1 s\n"

    monkeypatch.setattr(jobs.Job, "run", run)
    outcome = checks.check_tests(job)
    assert len(outcome.failures) == 4 and "46 skipped" in outcome.failures[0]  # nothing was proved
    assert "  SKIPPED [2] tests/ops/x.py:1: why" in outcome.lines
    others = "--ignore=tests/ops/test_cuda_device.py"
    assert sorted(commands) == [
        ("bfloat16", others),
        ("float32", others),
        ("float32", "tests/ops/test_cuda_device.py"),
        ("tf32", others),
    ]
    monkeypatch.setattr(
        jobs.Job, "run", lambda *args: "FAILED tests/ops/x.py::y\n1 failed, 3 passed in 1 s\n"
    )
    assert "bfloat16: tests/ops: FAILED tests/ops/x.py::y" in checks.check_tests(job).failures
    monkeypatch.setattr(jobs.Job, "run", lambda *args: "3 passed, 1 skipped in 1 s\n")
    assert checks.check_tests(job).passed


@pytest.mark.parametrize(
    "changes, names",
    [
        ({}, None),
        ({"on_cpu": ["transpose", "cast"], "cpu_share": 0.4}, r"\b40 %.*\btranspose, cast\b"),
        (
            {"shares": {**STEP["shares"], "attention": 0.0}},
            r"^(?!.*(region attention|layer norm|dropout)).*\battention\b",
        ),
    ],
)
def test_a_training_step_that_is_not_on_the_gpu_fails(monkeypatch, job, changes, names):
    row = {**ROW, "step": {**STEP, **changes}}
    answer(monkeypatch, {"speed": [row], "pytorch": [ROW]})
    outcome = speed_check.check_speed(job)
    assert not outcome.missing
    beginnings = [f"{precision}: VOC: " for precision in speed_check.SPEED_PRECISIONS] if names else []
    assert len(outcome.failures) == len(beginnings)
    for failure, beginning in zip(outcome.failures, beginnings):
        assert failure.startswith(beginning) and re.search(names, failure)


def test_settings_that_were_timed_before_time_was_up_are_shown(monkeypatch, job):
    late = processes.StageFailed("not finished after 60 s", [ROW])
    answer(monkeypatch, {"speed": late, "pytorch": [ROW]})
    outcome = speed_check.check_speed(job)
    assert (
        outcome.details["jseg"]["float32"] == [ROW] and "float32: not finished after 60 s" in outcome.failures
    )
    assert sum(line.startswith("VOC") and " 1.00 " in line for line in outcome.lines) == 2


def test_a_setting_that_crashed_is_a_failure(monkeypatch, job):
    """The first of two was timed; the process then died of an error, in time."""
    monkeypatch.setattr(jobs.Job, "run", lambda *args: f"RESULT {json.dumps(ROW)}\nRuntimeError: no memory\n")
    outcome = speed_check.check_speed(job)
    assert list(outcome.failures) == [
        f"{name}: RuntimeError: no memory" for name in speed_check.SPEED_PRECISIONS
    ]
    assert outcome.details["jseg"]["float32"] == [ROW] and len(outcome.missing) == 2


def test_a_stage_without_a_result_names_its_error(monkeypatch, job):
    monkeypatch.setattr(
        jobs.Job, "run", lambda *args: 'Traceback\nImportError: libcublas.so\n[stack]\nRESULT {"a'
    )
    with pytest.raises(processes.StageFailed, match=r"ImportError: libcublas\.so"):
        job.stage("import")


def test_training_is_compared_with_the_recorded_curve(monkeypatch, job):
    recorded = json.loads(training.CURVE.read_text())["total"]
    assert len(recorded) == 200 and recorded[-1] < recorded[0]
    for factor, passes in ((1.0, True), (1.1, False), (float("nan"), False)):
        curve = [factor * value for value in recorded]
        monkeypatch.setattr(training, "train", lambda *args, curve=curve: curve)
        assert training.check_training(job).passed == passes


def test_a_training_that_breaks_off_says_where(monkeypatch, job):
    monkeypatch.setattr(jobs.Job, "run", lambda *args: "error: the loss is not finite\n")
    (job.folder / "float32").mkdir()
    (job.folder / "float32" / "log.jsonl").write_text('{"total": 1.0}\n')
    with pytest.raises(processes.StageFailed, match=r"\b1\b.*\b200\b.*error: the loss is not finite"):
        training.train(job, "float32", 200, "float32")


@pytest.mark.parametrize(
    "two, nccl, failed, missing",
    [
        (1.0, {"nccl": True, "failed": []}, 0, 0),
        (1.0, {"nccl": False, "failed": []}, 0, 1),
        (1.001, {"nccl": True, "failed": ["a sum over one process changed the numbers"]}, 2, 0),
        (float("nan"), processes.StageFailed("ncclUnhandledCudaError"), 2, 0),
    ],
)
def test_ranks_are_compared_with_one_process(monkeypatch, job, two, nccl, failed, missing):
    answer(monkeypatch, {"nccl": nccl})
    monkeypatch.setattr(
        training, "train", lambda job, name, *_: [two if name == "two" else 1.0] * training.RANK_STEPS
    )
    outcome = training.check_ranks(job)
    assert len(outcome.failures) == failed and len(outcome.missing) == missing


def test_difference_of_curves():
    recorded = [1.0] * 40
    assert training.curve_difference(recorded, recorded) == 0
    assert training.curve_difference([1.0] * 20 + [1.5] * 20, recorded) == pytest.approx(0.5)


class _Row(NamedTuple):
    """As in jseg.parity."""

    name: str
    difference: float
    tolerance: float = 1e-5

    @property
    def passed(self) -> bool:
        return self.difference <= self.tolerance


def test_limits_of_the_golden_vectors():
    """In low precision one gradient in ten may be far off, but none without bound, and no output."""
    gradients = [_Row(f"grad {i}.grad.w", 0.05) for i in range(40)]
    rows = [_Row("logits", 0.05), _Row("full.pseudo_label", 0.5, 0.0), _Row("full.acc_seg", 0.5), *gradients]
    assert len(golden.beyond_limits(rows, "float32")) == 43
    assert golden.beyond_limits(rows, "bfloat16") == []
    assert len(golden.beyond_limits(rows, "tf32")) == 41
    wild = [_Row("a.grad.w", 0.5), _Row("b.grad.w", float("inf"))]
    assert golden.beyond_limits([*rows, *wild], "bfloat16") == ["b.grad.w"]
    assert len(golden.beyond_limits([*rows, *(_Row(f"{i}.grad.v", 0.5) for i in range(5))], "bfloat16")) == 5
    assert golden.beyond_limits([_Row("logits", float("nan"))], "bfloat16") == ["logits"]


def test_shares_of_a_profile():
    """As on a GPU, where the files of region attention include
    those of attention, and these those of dropout."""
    attention = include_headers("dropout/dropout_cuda.cuh", "attention/attention_backward.cuh")
    region = include_headers("region_attention/region_attention_cuda.cuh")
    keys = {
        f"code«IN_SIZE:3«HEADER:{attention}"
        "«CODE:jseg_attention_cuda::forward<Format>();«JIT:1«JIT_cuda:1": "3e6",
        f"code«HEADER:{attention}{region}«CODE:"
        "jseg_region_attention_cuda::backward<Format>();«JIT:1«JIT_cuda:1": "1e6",
        "transpose«Tx:float32«DIM=2«JIT:1«JIT_cpu:1": "4e6",
        "«opkey0:array«T:float32«o:0«opkey1:unary«Tx:float32«Ty:float32«OP:sigmoid«opkey2:reduce«Tx:float32«OP:add"
        "«DIM=4«REDUCE=8«JIT:1«JIT_cuda:1": "2e6",
    }
    table = [
        ["Name", "FileName", "Count", "TotalTime"],
        *([key, "file", "2", time] for key, time in keys.items()),
    ]
    summary = speed.profile_summary(table)
    assert summary["milliseconds"] == 10
    assert summary["shares"] == {
        "region attention": 0.1,
        "attention": 0.3,
        "layer norm": 0,
        "bias and activation": 0,
        "losses": 0,
        "class map": 0,
        "dropout": 0,
        "AdamW": 0,
    }
    assert [row["name"] for row in summary["costliest"]] == [
        "transpose",
        "attention forward",
        "sigmoid reduce",
        "region attention backward",
    ]
    assert summary["on_cpu"] == ["transpose"] and summary["cpu_share"] == 0.4
