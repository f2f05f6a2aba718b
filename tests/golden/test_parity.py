"""Parity with the recorded outputs of the released implementations, through `tools/parity.py`."""

import gzip
import importlib.util
import json
import shutil
from pathlib import Path

import numpy as np
import pytest

GOLDEN = Path(__file__).parent
_SPEC = importlib.util.spec_from_file_location("parity", GOLDEN.parents[1] / "tools" / "parity.py")
parity = importlib.util.module_from_spec(_SPEC)
_SPEC.loader.exec_module(parity)


def _assert_parity(folder, least):
    computed, recorded = parity.run_case(folder)
    rows = parity.compare(computed, recorded)
    failed = [row for row in rows if not row.passed]
    assert not failed, parity.format_rows(failed)
    assert len(rows) >= least
    assert set(computed) == set(recorded)


@pytest.mark.parametrize("name", ["tiny", "tiny_m16"])
def test_clip_rc_forward_losses_and_every_gradient(name):
    _assert_parity(GOLDEN / name, least=400)


def test_clip_features_from_an_openai_archive(tmp_path):
    for name in ("case.json", "io.npz"):
        shutil.copy(GOLDEN / "clip_tiny" / name, tmp_path)
    (tmp_path / "openai.pt").write_bytes(gzip.decompress((GOLDEN / "clip_tiny" / "openai.pt.gz").read_bytes()))
    _assert_parity(tmp_path, least=3)


def test_tokenizer_byte_for_byte():
    _assert_parity(GOLDEN / "tokenizer", least=1)


def test_comparison_sees_differences():
    """The table must be able to fail: wrong value, wrong shape, missing quantity, not finite, wrong integer."""
    recorded = {"a": np.array([1.0, 100.0]), "n": np.array([1, 2]), "s.grad.k.weight": np.array([1.0]),
                "s.grad.k.bias": np.array([1e-9])}
    same = {name: value.copy() for name, value in recorded.items()}
    assert all(row.passed for row in parity.compare(same, recorded))
    for name, value, difference in [("a", np.array([1.0, 100.01]), 1e-4), ("a", np.zeros(3), np.inf),
                                    ("a", np.array([np.nan, 100.0]), np.inf), ("n", np.array([1, 3]), 0.5),
                                    ("s.grad.k.weight", np.array([1.001]), 1e-3)]:
        rows = {row.name: row for row in parity.compare({**same, name: value}, recorded)}
        assert not rows[name].passed and rows[name].difference == pytest.approx(difference), name
    assert not parity.compare({}, recorded)[0].passed
    # The gradient of a key bias is noise around 0 and is seen beside that of the weight.
    noisy = parity.compare({**same, "s.grad.k.bias": np.array([-1e-9])}, recorded)
    assert all(row.passed for row in noisy)


def test_a_folder_that_is_no_case_gives_one_sentence(tmp_path, capsys):
    (tmp_path / "case.json").write_text(json.dumps({"kind": "poem"}))
    assert parity.main([str(tmp_path)]) == 2
    assert "'poem'" in capsys.readouterr().err
    assert parity.main([str(tmp_path / "nowhere")]) == 2


def test_out_file_and_exit_status(tmp_path, capsys):
    for name in ("case.json", "cases.json"):
        shutil.copy(GOLDEN / "tokenizer" / name, tmp_path)
    out = tmp_path / "out.npz"
    assert parity.main([str(tmp_path), "--out", str(out)]) == 0
    assert np.load(out)["tokens_77_truncated"].shape[1] == 77
    cases = json.loads((tmp_path / "cases.json").read_text())
    cases[0]["tokens_77_truncated"][1] += 1
    (tmp_path / "cases.json").write_text(json.dumps(cases))
    assert parity.main([str(tmp_path)]) == 1
    assert "FAIL" in capsys.readouterr().out
