"""Parity with the recorded outputs of the released implementations, through `jseg.parity` and its command."""

import gzip
import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from jseg import parity
from jseg.cli import parity as command

GOLDEN = Path(__file__).parent


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


def test_zegclip_forward_losses_and_every_gradient():
    _assert_parity(GOLDEN / "zegclip_tiny", least=150)


def test_sixty_training_steps_in_each_setting():
    _assert_parity(GOLDEN / "train_tiny", least=400)


def test_comparison_of_training_runs_sees_differences():
    recorded = {
        "s.lr": np.array([[1e-4, 2e-4]]),
        "s.loss_mask": np.array([100.0, 1.0]),
        "s.recovery_loss_q": np.array([0.0, 1.0]),
        "s.acc_seg": np.array([0.0, 50.0]),
        "s.final.q.weight": np.array([1.0, 100.0], np.float32),
        "s.final.q.k.bias": np.array([1.0], np.float32),
        "s.exp_avg_sq.q.weight": np.array([1.0], np.float32),
        "s.pseudo_label": np.zeros((2, 1, 1, 50, 40), np.uint8),
        "other.loss_mask": np.array(1.0, np.float32),
    }
    rows = parity.compare(recorded, recorded)
    assert all(row.passed for row in rows)
    assert {row.name for row in rows} == set(recorded) - {"s.final.q.k.bias"}
    label = recorded["s.pseudo_label"].copy()
    label[1, 0, 0, 0, :3] = 1
    for name, value in (
        ("s.lr", np.array([[1e-4, 2.000001e-4]])),
        ("s.loss_mask", np.array([100.0, 1.001])),  # relative to its own step
        ("s.recovery_loss_q", np.array([0.001, 1.0])),
        ("s.acc_seg", np.array([0.2, 50.0])),
        ("s.final.q.weight", np.array([1.0, 100.1])),
        ("s.exp_avg_sq.q.weight", np.array([1.01])),
        ("s.pseudo_label", label),  # 3 of the 2,000 pixels of a step
        ("s.loss_mask", np.array([np.nan, 1.0])),
        ("s.loss_mask", None),
        ("other.loss_mask", np.array(1.0001)),
    ):
        failed = [row.name for row in parity.compare({**recorded, name: value}, recorded) if not row.passed]
        assert failed == [name]


def test_clip_features_from_a_packed_openai_archive():
    _assert_parity(GOLDEN / "clip_tiny", least=3)


def test_unpacked_archive_comes_first_and_a_packed_one_leaves_nothing_behind(tmp_path):
    (tmp_path / "openai.pt.gz").write_bytes(gzip.compress(b"packed"))
    with parity.openai_archive(tmp_path) as path:
        assert path.read_bytes() == b"packed"
    assert not path.exists()
    (tmp_path / "openai.pt").write_bytes(b"plain")
    with parity.openai_archive(tmp_path) as path:
        assert path == tmp_path / "openai.pt"


def test_tokenizer_byte_for_byte():
    _assert_parity(GOLDEN / "tokenizer", least=1)


def test_comparison_sees_differences():
    """The table must be able to fail: wrong value, wrong shape,
    missing quantity, not finite, wrong integer."""
    recorded = {
        "a": np.array([1.0, 100.0]),
        "n": np.array([1, 2]),
        "s.grad.k.weight": np.array([1.0]),
        "s.grad.k.bias": np.array([1e-9]),
    }
    same = {name: value.copy() for name, value in recorded.items()}
    assert all(row.passed for row in parity.compare(same, recorded))
    for name, value, difference in [
        ("a", np.array([1.0, 100.01]), 1e-4),
        ("a", np.zeros(3), np.inf),
        ("a", np.array([np.nan, 100.0]), np.inf),
        ("n", np.array([1, 3]), 0.5),
        ("s.grad.k.weight", np.array([1.001]), 1e-3),
    ]:
        rows = {row.name: row for row in parity.compare({**same, name: value}, recorded)}
        assert not rows[name].passed and rows[name].difference == pytest.approx(difference), name
    assert not parity.compare({}, recorded)[0].passed
    # The gradient of a key bias is noise around 0 and is seen beside that of the weight.
    noisy = parity.compare({**same, "s.grad.k.bias": np.array([-1e-9])}, recorded)
    assert all(row.passed for row in noisy)


def test_a_folder_that_is_no_case_gives_one_sentence(tmp_path, capsys):
    (tmp_path / "case.json").write_text(json.dumps({"kind": "poem"}))
    assert command.main([str(tmp_path)]) == 2
    assert "'poem'" in capsys.readouterr().err
    assert command.main([str(tmp_path / "nowhere")]) == 2


def _edit_case(change):
    def edit(folder):
        case = json.loads((folder / "case.json").read_text())
        change(case)
        (folder / "case.json").write_text(json.dumps(case))

    return edit


def _truncate(name):
    return lambda folder: (folder / name).write_bytes((folder / name).read_bytes()[:200])


def _damage(name):
    """The directory of the archive is intact, but its members cannot be inflated."""

    def edit(folder):
        content = bytearray((folder / name).read_bytes())
        content[100:300] = b"\xff" * 200
        (folder / name).write_bytes(content)

    return edit


def _drop_array(name, array):
    def edit(folder):
        with np.load(folder / name) as file:
            rest = {key: file[key] for key in file.files if key != array}
        np.savez(folder / name, **rest)

    return edit


def _flat_images(folder):
    with np.load(folder / "inputs.npz") as file:
        arrays = dict(file)
    np.savez(folder / "inputs.npz", **{**arrays, "image": arrays["image"][0]})


def _write(name, content):
    return lambda folder: (folder / name).write_bytes(content)


def _empty_archive(name):
    return lambda folder: np.savez(folder / name)


BAD_CASES = {
    "case_is_a_list": ("tiny", _write("case.json", b"[]"), ["case.json", "kind"]),
    "case_is_no_json": ("tiny", _write("case.json", b"{"), ["case.json", "JSON"]),
    "case_lacks_heads": ("tiny", _edit_case(lambda case: case.pop("heads")), ["case.json", "'heads'"]),
    "heads_is_text": (
        "tiny",
        _edit_case(lambda case: case.update(heads="4")),
        ["case.json", "'heads'", "'4'"],
    ),
    "unknown_setting": ("tiny", _edit_case(lambda case: case.update(settings=["some"])), ["'some'"]),
    "empty_npz": ("tiny", _write("weights.npz", b""), ["weights.npz"]),
    "truncated_npz": ("tiny", _truncate("inputs.npz"), ["inputs.npz"]),
    "damaged_npz": ("tiny", _damage("inputs.npz"), ["inputs.npz"]),
    "no_npz": ("tiny", lambda folder: (folder / "outputs.npz").unlink(), ["outputs.npz"]),
    "outputs_without_arrays": ("tiny", _empty_archive("outputs.npz"), ["outputs.npz"]),
    "no_label": ("tiny", _drop_array("inputs.npz", "label"), ["inputs.npz", "'label'"]),
    "no_proj": ("tiny", _drop_array("weights.npz", "backbone.proj"), ["weights.npz", "'backbone.proj'"]),
    "no_archive": (
        "clip_tiny",
        lambda folder: (folder / "openai.pt.gz").unlink(),
        ["openai.pt", "openai.pt.gz"],
    ),
    "truncated_archive": ("clip_tiny", _truncate("openai.pt.gz"), ["openai.pt.gz", "gzip"]),
    "packed_nonsense": ("clip_tiny", _write("openai.pt.gz", gzip.compress(b"nonsense")), ["openai.pt.gz"]),
    "no_features": ("clip_tiny", _drop_array("io.npz", "text_features"), ["io.npz", "'text_features'"]),
    "no_steps": ("train_tiny", _edit_case(lambda case: case.pop("steps")), ["case.json", "'steps'"]),
    "other_optimizer": (
        "train_tiny",
        _edit_case(lambda case: case["optimizer"].update(type="SGD")),
        ["case.json", "optimizer.type", "'SGD'"],
    ),
    "no_schedule_power": (
        "train_tiny",
        _edit_case(lambda case: case["schedule"].pop("power")),
        ["case.json", "schedule.power"],
    ),
    "other_parameters": (
        "train_tiny",
        _edit_case(lambda case: case["trained"].pop()),
        ["case.json", "'trained'"],
    ),
    "images_of_one_batch": ("train_tiny", _flat_images, ["inputs.npz", "'image'"]),
    "no_texts": ("tokenizer", _write("cases.json", b"[]"), ["cases.json"]),
    "text_without_ids": (
        "tokenizer",
        _write("cases.json", b'[{"text": "a"}]'),
        ["cases.json", " 0 ", "'tokens_77_truncated'"],
    ),
}


@pytest.mark.parametrize("name", BAD_CASES)
def test_a_bad_case_gives_one_sentence_and_status_2(name, tmp_path, capsys):
    source, spoil, parts = BAD_CASES[name]
    folder = tmp_path / "case"
    shutil.copytree(GOLDEN / source, folder)
    spoil(folder)
    assert command.main([str(folder)]) == 2
    printed = capsys.readouterr().err
    assert printed.startswith(f"error: {folder}: ") and printed.count("\n") == 1
    assert all(part in printed for part in parts)


def test_out_file_and_exit_status(tmp_path, capsys, monkeypatch):
    for name in ("case.json", "cases.json"):
        shutil.copy(GOLDEN / "tokenizer" / name, tmp_path)
    out = tmp_path / "out.npz"
    assert command.main([str(tmp_path), "--out", str(out)]) == 0
    assert np.load(out)["tokens_77_truncated"].shape[1] == 77
    with monkeypatch.context() as patch:
        patch.setattr(command, "run_case", None)  # refused before anything is computed
        assert command.main([str(tmp_path), "--out", str(out / "out.npz")]) == 2
    assert "out.npz/out.npz" in capsys.readouterr().err
    cases = json.loads((tmp_path / "cases.json").read_text())
    cases[0]["tokens_77_truncated"][1] += 1
    (tmp_path / "cases.json").write_text(json.dumps(cases))
    assert command.main([str(tmp_path)]) == 1
    assert "FAIL" in capsys.readouterr().out
