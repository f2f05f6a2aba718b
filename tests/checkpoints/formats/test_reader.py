"""Every weight format returns the stored values, independently of the file name."""

import json
import pickle
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from checkpoint_writers import (
    Call,
    Global,
    Module,
    Storage,
    Tensor,
    bfloat16_tensor,
    jittor_bytes,
    npz_bytes,
    safetensors_bytes,
    tensor,
    torch_archive_bytes,
    torch_legacy_bytes,
    write,
)

from jseg.checkpoints import read_tensors, save_npz

ARRAYS: dict[str, np.ndarray] = {
    "block.weight": np.arange(6, dtype=np.float32).reshape(2, 3),
    "half": np.array([0.5, -1], np.float16),
    "double": np.array([[np.pi]]),
    "count": np.array(12, np.int64),
    "int": np.array([-3], np.int32),
    "short": np.array([-2], np.int16),
    "small": np.array([-1], np.int8),
    "byte": np.array([255], np.uint8),
    "mask": np.array([True, False]),
    "empty": np.zeros((0, 4), np.float32),
}
TORCH_WRITERS = [torch_archive_bytes, torch_legacy_bytes]


def check(path: Path, expected: dict[str, np.ndarray]) -> None:
    tensors = read_tensors(path)
    assert set(tensors) == set(expected)
    for name, array in expected.items():
        assert tensors.entry(name).shape == array.shape and tensors.entry(name).dtype == array.dtype, name
        assert tensors[name].dtype == array.dtype and tensors[name].shape == array.shape, name
        np.testing.assert_array_equal(tensors[name], array, err_msg=name)


@pytest.mark.parametrize(
    "content",
    [
        torch_archive_bytes({name: tensor(array) for name, array in ARRAYS.items()}),
        torch_legacy_bytes({name: tensor(array) for name, array in ARRAYS.items()}),
        safetensors_bytes(ARRAYS),
        jittor_bytes(ARRAYS),
        jittor_bytes(ARRAYS, checksum=False),
        jittor_bytes(ARRAYS, protocol=2),
        jittor_bytes(ARRAYS, protocol=5),
        npz_bytes(ARRAYS),
        npz_bytes(ARRAYS, compressed=False),
    ],
    ids=[
        "archive",
        "legacy",
        "safetensors",
        "jittor",
        "jittor-plain",
        "jittor-2",
        "jittor-5",
        "npz",
        "npz-stored",
    ],
)
def test_all_types_in_every_format_under_a_misleading_suffix(tmp_path: Path, content: bytes) -> None:
    check(write(tmp_path / "weights.jpg", content), ARRAYS)


@pytest.mark.parametrize("make", TORCH_WRITERS)
def test_nested_checkpoint_gives_the_weights_and_keeps_plain_values(
    tmp_path: Path, make: Callable[..., bytes]
) -> None:
    weights = [("layer.weight", tensor(np.ones((2, 2), np.float32)))]
    root = {
        "meta": {"epoch": 3, "CLASSES": ("cat", "dog"), "lr": 0.5},
        "state_dict": Call(
            Global("collections", "OrderedDict"), (weights,), {"_metadata": {"": {"version": 1}}}
        ),
        "optimizer": {
            "state": {0: {"exp_avg": tensor(np.zeros(4, np.float32))}},
            "param_groups": [{"lr": 0.1}],
        },
    }
    tensors = read_tensors(write(tmp_path / "file", make(root)))
    assert list(tensors) == ["layer.weight"]
    assert tensors.metadata["meta.epoch"] == 3 and tensors.metadata["meta.CLASSES.1"] == "dog"
    assert tensors.metadata["optimizer.param_groups.0.lr"] == 0.1


@pytest.mark.parametrize("make", TORCH_WRITERS)
def test_shared_storage_with_transposed_sliced_and_expanded_views(
    tmp_path: Path, make: Callable[..., bytes]
) -> None:
    base = np.arange(12, dtype=np.float32)
    storage = Storage(base.tobytes(), "FloatStorage", 12)
    root = {
        "whole": Tensor(storage, (3, 4), (4, 1)),
        "transposed": Tensor(storage, (4, 3), (1, 4)),
        "column": Tensor(storage, (3,), (4,), offset=1),
        "tied": Tensor(storage, (12,), (1,)),
        "expanded": Tensor(storage, (2, 4), (0, 1), offset=8),
        "scalar": Tensor(storage, (), (), offset=11),
    }
    whole = base.reshape(3, 4)
    check(
        write(tmp_path / "file", make(root)),
        {
            "whole": whole,
            "transposed": whole.T,
            "column": whole[:, 1],
            "tied": base,
            "expanded": np.stack([whole[2]] * 2),
            "scalar": np.array(11, np.float32),
        },
    )


@pytest.mark.parametrize("make", TORCH_WRITERS)
def test_bfloat16_becomes_float32(tmp_path: Path, make: Callable[..., bytes]) -> None:
    values = np.array([[1.0, -2.5], [3.0e38, 0.0]], np.float32)
    values = (values.view(np.uint32) & np.uint32(0xFFFF0000)).view(np.float32)
    check(write(tmp_path / "file", make({"x": bfloat16_tensor(values)})), {"x": values})


def test_bfloat16_in_safetensors_becomes_float32(tmp_path: Path) -> None:
    header = {"x": {"dtype": "BF16", "shape": [2], "data_offsets": [0, 4]}}
    bits = np.frombuffer(b"\x80\x3f\x20\xc0", np.int16)
    path = write(tmp_path / "file", safetensors_bytes({"x": bits}, header=header))
    check(path, {"x": np.array([1.0, -2.5], np.float32)})


def test_parameters_and_typed_tensors_are_unwrapped(tmp_path: Path) -> None:
    x = tensor(np.arange(3, dtype=np.float32))
    untyped = Storage(np.arange(2, dtype=np.int64).tobytes(), "UntypedStorage", 16)
    hooks = Call(Global("collections", "OrderedDict"), ())
    root = {
        "parameter": Call(Global("torch._utils", "_rebuild_parameter"), (x, True, hooks)),
        "v3": Call(
            Global("torch._utils", "_rebuild_tensor_v3"),
            (untyped, 0, (2,), (1,), False, hooks, Global("torch", "int64")),
        ),
        "subclass": Call(
            Global("torch._tensor", "_rebuild_from_type_v2"),
            (
                Global("torch._utils", "_rebuild_parameter"),
                Global("torch.nn.parameter", "Parameter"),
                (x, True, hooks),
                {},
            ),
        ),
    }
    check(
        write(tmp_path / "file", torch_archive_bytes(root)),
        {
            "parameter": np.arange(3, dtype=np.float32),
            "v3": np.arange(2),
            "subclass": np.arange(3, dtype=np.float32),
        },
    )


def test_torchscript_modules_become_dotted_names_and_flags_are_dropped(tmp_path: Path) -> None:
    conv = Module(
        "__torch__.torch.nn.modules.conv.Conv2d",
        {
            "training": True,
            "weight": tensor(np.ones((1, 2), np.float16)),
            "padding": Call(Global("torch.jit._pickle", "build_intlist"), ([0, 0],)),
        },
    )
    root = Module(
        "__torch__.clip.model.CLIP",
        {"training": False, "logit_scale": tensor(np.array(4.6, np.float32)), "version": 2, "visual": conv},
    )
    path = write(tmp_path / "file", torch_archive_bytes(root, script=True))
    check(path, {"logit_scale": np.array(4.6, np.float32), "visual.weight": np.ones((1, 2), np.float16)})
    assert read_tensors(path).metadata == {}


def test_jittor_training_checkpoint_with_numpy_scalars(tmp_path: Path) -> None:
    root = OrderedDict(
        meta={"iter": 40, "best": np.float64(0.5)},
        model={"x": np.asfortranarray(np.eye(2, 3))},
        optimizer={"values": [np.zeros(3)]},
    )
    tensors = read_tensors(write(tmp_path / "file", jittor_bytes(root)))
    assert list(tensors) == ["x"] and tensors.metadata["meta.iter"] == 40
    np.testing.assert_array_equal(tensors["x"], np.eye(2, 3))


class FakeVar:
    """Pickles as jittor.Var does."""

    def __init__(self, data: np.ndarray) -> None:
        self.data = data

    def __reduce__(self) -> Any:
        return FakeVar, (self.data,)


def test_jittor_var_is_its_array(tmp_path: Path) -> None:
    content = pickle.dumps({"x": FakeVar(np.arange(3.0))}, 2)
    content = content.replace(f"c{FakeVar.__module__}\nFakeVar\n".encode(), b"cjittor\nVar\n")
    assert b"jittor" in content
    check(write(tmp_path / "file", content), {"x": np.arange(3.0)})


def test_saved_npz_and_other_memory_orders(tmp_path: Path) -> None:
    arrays = {
        "a.b": np.asfortranarray(np.arange(6, dtype=np.float16).reshape(2, 3)),
        "big": np.arange(3, dtype=">i4"),
    }
    save_npz(tmp_path / "new" / "file.npz", arrays)
    check(tmp_path / "new" / "file.npz", {"a.b": arrays["a.b"], "big": np.arange(3, dtype=np.int32)})
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["file.npz"]


def test_sharded_safetensors(tmp_path: Path) -> None:
    write(tmp_path / "model-1.safetensors", safetensors_bytes({"a": np.zeros(2, np.float32)}))
    write(tmp_path / "model-2.safetensors", safetensors_bytes({"b": np.ones(3, np.float16)}))
    index = {
        "metadata": {"total_size": 14},
        "weight_map": {"a": "model-1.safetensors", "b": "model-2.safetensors"},
    }
    path = write(tmp_path / "model.safetensors.index.json", json.dumps(index, indent=1).encode())
    check(path, {"a": np.zeros(2, np.float32), "b": np.ones(3, np.float16)})


def test_one_tensor_of_a_large_file_does_not_read_the_file(tmp_path: Path) -> None:
    """A sparse 1 GB file: if opening it or reading one tensor touched the rest, memory would follow."""
    import resource

    size = 2**30
    header = {
        "big": {"dtype": "U8", "shape": [size], "data_offsets": [0, size]},
        "small": {"dtype": "F32", "shape": [2], "data_offsets": [size, size + 8]},
    }
    path = tmp_path / "file"
    content = safetensors_bytes({}, header=header)
    with path.open("wb") as file:
        file.write(content)
        file.seek(len(content) + size)
        file.write(np.array([1, 2], np.float32).tobytes())
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    np.testing.assert_array_equal(read_tensors(path)["small"], [1, 2])
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 64 * 1024  # KiB
