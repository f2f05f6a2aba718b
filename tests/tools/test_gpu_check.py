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


def test_dry_run_computes_in_processes_of_its_own(tmp_path, capsys):
    """Jittor is imported, operators are compared with NumPy, and a recorded CLIP is computed again."""
    out = tmp_path / "report.json"
    assert gpu_check.main(["--dry-run", "--only", "build", "operators", "golden", "--out", str(out)]) == 0
    text = capsys.readouterr().out
    assert text.count("passed  ") == 3 and "dry run passed" in text and "region attention" in text
    report = json.loads(out.read_text())
    assert report["build"]["details"]["kind"] == "cpu"
    assert set(report["operators"]["details"]["float32"]["errors"]) == {
        "linear", "attention", "causal attention", "region attention", "layer_norm"}


def test_a_failure_is_told_and_does_not_stop_the_rest(monkeypatch, capsys):
    row = {"setting": "VOC", "batch": 16, "train": 1.0, "infer": 2.0, "gpu_memory_mb": 5.0}
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
    assert text.splitlines()[-1].startswith("dry run FAILED: operators, golden")


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
    """In low precision one gradient in twenty may be far off, but none without bound, and no output."""
    gradients = [_Row(f"grad {i}.grad.w", 0.05) for i in range(40)]
    rows = [_Row("logits", 0.05), _Row("pseudo_label", 0.5, 0.0), *gradients]
    assert len(stages.beyond_limits(rows, "float32")) == 42
    assert stages.beyond_limits(rows, "bfloat16") == []
    assert len(stages.beyond_limits(rows, "tf32")) == 41
    wild = [_Row("a.grad.w", 0.5), _Row("b.grad.w", float("inf"))]
    assert stages.beyond_limits([*rows, *wild], "bfloat16") == ["b.grad.w"]
    assert len(stages.beyond_limits([*rows, *(_Row(f"{i}.grad.v", 0.5) for i in range(3))], "bfloat16")) == 3
    assert stages.beyond_limits([_Row("logits", float("nan"))], "bfloat16") == ["logits"]
