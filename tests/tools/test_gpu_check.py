"""tools/gpu_check.py on a machine without a GPU: what it says, and that it can fail."""

import importlib.util
import json
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).resolve().parents[2]
_SPEC = importlib.util.spec_from_file_location("gpu_check", ROOT / "tools" / "gpu_check.py")
gpu_check = importlib.util.module_from_spec(_SPEC)
_SPEC.loader.exec_module(gpu_check)


_SPEC = importlib.util.spec_from_file_location("gpu_check_stages", ROOT / "tools" / "gpu_check_stages.py")
stages = importlib.util.module_from_spec(_SPEC)
_SPEC.loader.exec_module(stages)


def test_without_a_gpu_it_says_so_in_one_sentence(monkeypatch, capsys):
    def no_gpu(name):
        raise ValueError(f"--device {name}: no CUDA driver")

    monkeypatch.setattr(gpu_check, "select_device", no_gpu)
    assert gpu_check.main([]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1 and "--dry-run" in error
    assert "no usable GPU (--device cuda: no CUDA driver)" in error


def test_a_report_that_cannot_be_written_is_told_first(tmp_path, capsys):
    assert gpu_check.main(["--dry-run", "--out", str(tmp_path)]) == 2
    captured = capsys.readouterr()
    assert captured.err.startswith("error: ") and captured.err.count("\n") == 1 and not captured.out


def test_dry_run_computes_in_processes_of_its_own(tmp_path, capsys):
    """Jittor is imported, kernels are built, operators compared with NumPy, and a recorded CLIP computed again."""
    out = tmp_path / "report.json"
    assert gpu_check.main(["--dry-run", "--only", "build", "kernels", "operators", "golden", "--out", str(out)]) == 0
    text = capsys.readouterr().out
    assert text.count("passed  ") == 4 and "operators built" in text and "dry run passed" in text
    assert "region attention" in text
    report = json.loads(out.read_text())
    assert report["build"]["details"]["kind"] == "cpu"
    assert set(report["operators"]["details"]["float32"]["errors"]) == {
        "linear", "attention", "causal attention", "region attention", "layer_norm"}


def test_a_failure_is_told_and_does_not_stop_the_rest(monkeypatch, capsys):
    step = {"milliseconds": 100.0, "shares": {"attention": 0.25, "layer norm": 0.0}, "on_processor": []}
    row = {"setting": "VOC", "batch": 16, "train": 1.0, "infer": 2.0, "gpu_memory_mb": 5.0, "step": step}
    answers = {"import": {"device": "CPU", "kind": "cpu", "seconds": 1.0},
               "ops": {"errors": {"linear": 0.5}, "tolerance": 1e-5, "failed": ["linear"]},
               "benchmark": {"rows": [row]}}

    def stage(name, precision, dry):
        if name in ("golden", "torch"):
            raise gpu_check.StageFailed(f"{name}: RuntimeError: nvcc was killed")
        return answers[name]

    monkeypatch.setattr(gpu_check, "stage", stage)
    assert gpu_check.main(["--dry-run", "--only", "build", "operators", "golden", "speed"]) == 1
    text = capsys.readouterr().out
    assert "FAILED  operators" in text and "FAILED  golden" in text and "nvcc was killed" in text
    assert "passed  speed" in text and "no comparison with PyTorch" in text
    assert "training step 100 ms: attention 25.0 %\n" in text
    assert text.splitlines()[-1].startswith("dry run FAILED: operators, golden")


def test_a_run_cut_short_leaves_a_report(monkeypatch, tmp_path):
    def interrupt(dry):
        raise KeyboardInterrupt

    monkeypatch.setitem(gpu_check.CHECKS, "build", lambda dry: (True, [], {"kind": "cpu"}))
    monkeypatch.setitem(gpu_check.CHECKS, "operators", interrupt)
    with pytest.raises(KeyboardInterrupt):
        gpu_check.main(["--dry-run", "--only", "build", "operators", "--out", str(tmp_path / "report.json")])
    assert list(json.loads((tmp_path / "report.json").read_text())) == ["build"]


def test_a_gpu_runs_the_tests_of_the_cuda_kernels_alone(monkeypatch):
    commands = []

    def run(command, device):
        commands.append((command[-1], device))
        return "46 skipped in 1 s\n"

    monkeypatch.setattr(gpu_check, "run", run)
    assert not gpu_check.check_tests(False)[0]  # nothing was proved
    assert commands == [("tests/ops/test_cuda_device.py", "cuda")]


def test_operators_on_the_processor_are_told():
    step = {"milliseconds": 10.0, "shares": {"attention": 0.5}, "on_processor": ["transpose"]}
    assert gpu_check._step_line(step, False).endswith("50.0 %; ON THE PROCESSOR: transpose")
    assert "PROCESSOR" not in gpu_check._step_line(step, True)


def test_a_stage_without_a_result_names_its_error(monkeypatch):
    monkeypatch.setattr(gpu_check, "run", lambda *args: "Traceback\nImportError: libcublas.so\n[stack]\n")
    with pytest.raises(gpu_check.StageFailed, match="ImportError: libcublas.so"):
        gpu_check.stage("import", "float32", True)


def test_training_is_compared_with_the_recorded_curve(monkeypatch):
    recorded = json.loads(gpu_check.CURVE.read_text())["total"]
    assert len(recorded) == 200 and recorded[-1] < recorded[0]
    monkeypatch.setattr(gpu_check, "run", lambda *args: "")
    for factor, passes in ((1.0, True), (1.1, False), (float("nan"), False)):
        monkeypatch.setattr(gpu_check, "train", lambda *args: [factor * value for value in recorded])
        assert gpu_check.check_training(False)[0] == passes


def test_difference_of_curves():
    recorded = [1.0] * 40
    assert gpu_check.curve_difference(recorded, recorded) == 0
    assert gpu_check.curve_difference([1.0] * 20 + [1.5] * 20, recorded) == pytest.approx(0.5)


class _Row(NamedTuple):
    """As in tools/parity.py."""

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
    assert len(stages.beyond_limits(rows, "float32")) == 43
    assert stages.beyond_limits(rows, "bfloat16") == []
    assert len(stages.beyond_limits(rows, "tf32")) == 41
    wild = [_Row("a.grad.w", 0.5), _Row("b.grad.w", float("inf"))]
    assert stages.beyond_limits([*rows, *wild], "bfloat16") == ["b.grad.w"]
    assert len(stages.beyond_limits([*rows, *(_Row(f"{i}.grad.v", 0.5) for i in range(5))], "bfloat16")) == 5
    assert stages.beyond_limits([_Row("logits", float("nan"))], "bfloat16") == ["logits"]


def test_shares_of_a_profile():
    """As on a GPU, where the files of region attention include those of attention."""
    attention = '#include "/x/jseg/ops/attention/attention_backward.cuh"\n'
    keys = {
        f"code«IN_SIZE:3«HEADER:{attention}«CODE:jseg_attention_cuda::forward<Format>();«JIT:1«JIT_cuda:1": "3e6",
        f'code«HEADER:{attention}#include "/x/jseg/ops/region_attention/region_attention_cuda.cuh"\n«CODE:'
        "jseg_region_attention_cuda::backward<Format>();«JIT:1«JIT_cuda:1": "1e6",
        "transpose«Tx:float32«DIM=2«JIT:1«JIT_cpu:1": "4e6",
        "«opkey0:array«T:float32«o:0«opkey1:unary«Tx:float32«Ty:float32«OP:sigmoid«opkey2:reduce«Tx:float32«OP:add"
        "«DIM=4«REDUCE=8«JIT:1«JIT_cuda:1": "2e6"}
    table = [["Name", "FileName", "Count", "TotalTime"], *([key, "file", "2", time] for key, time in keys.items())]
    summary = stages.profile_summary(table)
    assert summary["milliseconds"] == 10
    assert summary["shares"] == {"region attention": 0.1, "attention": 0.3, "layer norm": 0, "bias and activation": 0}
    assert [row["name"] for row in summary["costliest"]] == [
        "transpose", "attention forward", "sigmoid reduce", "region attention backward"]
    assert summary["on_processor"] == ["transpose"]
