"""The Python fronts on CUDA, whose source text for `jt.code` is compiled by g++ and run by the emulator."""

import ctypes
import subprocess
from collections.abc import Mapping, Sequence
from types import MappingProxyType

import numpy as np
import pytest
from adamw_reference import assert_step
from emulated import EMULATOR, built_once, kernel_sources
from map_references import assert_best, assert_sums_and_gradients, mixed_copies
from op_references import (
    attention_float64,
    dropout_factors,
    gradients,
    layer_norm_float64,
    region_attention_float64,
    relative_error,
)

from jseg.ops import GridCopy, RegionLayout, attention, class_map, layer_norm, region_attention
from jseg.ops import cuda as cuda_module
from jseg.ops.adamw.adamw import SLOTS
from jseg.runtime.backend import jt

TYPES = {"float32": "float", "float16": "__half", "int32": "int"}


class EmulatedJittor:
    """Replaces Jittor in the module jseg.ops.cuda, and `jt.code`, as they behave on a GPU."""

    class flags:
        use_cuda, use_tensorcore, cuda_archs = 1, 0, [80]

    Var = jt.Var

    def __init__(self) -> None:
        self.built, self.sources = {}, []

    def code(
        self,
        shapes: Sequence,
        dtypes: Sequence[str],
        inputs: list[jt.Var],
        cuda_header: str,
        cuda_src: str,
        data: Mapping[str, float] = MappingProxyType({}),
        cpu_header: str = "",
        cpu_src: str = "",
    ) -> list[jt.Var]:
        arrays = [np.ascontiguousarray(x.numpy()) for x in inputs]
        outputs = [
            np.full([int(n) for n in shape], -1 if "int" in str(dtype) else np.nan, str(dtype))
            for shape, dtype in zip(shapes, dtypes)
        ]
        entry = self._build(arrays, outputs, cuda_header, cuda_src, sorted(data))
        sizes = np.array([n for array in (*arrays, *outputs) for n in array.shape], np.int64)
        pointers = [array.ctypes.data_as(ctypes.c_void_p) for array in (*arrays, *outputs)]
        numbers = np.array([data[name] for name in sorted(data)], np.float64)
        entry(
            (ctypes.c_void_p * len(pointers))(*pointers),
            sizes.ctypes.data_as(ctypes.c_void_p),
            numbers.ctypes.data_as(ctypes.c_void_p),
        )
        return [jt.array(x) for x in outputs]

    def _build(
        self, arrays: list[np.ndarray], outputs: list[np.ndarray], header: str, source: str, names: list[str]
    ):
        """Builds the source with the pointers and sizes by name that code_op.cc generates around it."""
        lines, size = [], 0
        for kind, group in (("in", arrays), ("out", outputs)):
            for i, array in enumerate(group):
                name = f"{kind}{i}"
                lines.append(f"using {name}_type = {TYPES[str(array.dtype)]};")
                lines.append(f"auto* __restrict__ {name}_p = ({name}_type*)*pointers++;")
                for axis in range(array.ndim):
                    lines.append(f"long {name}_shape{axis} = sizes[{size}];")
                    size += 1
                number = "".join(f" * {name}_shape{axis}" for axis in range(array.ndim))
                lines += [
                    f"Var {name}_var{{1L{number}, (void*){name}_p}};",
                    f"_{kind}puts.push_back(&{name}_var);",
                ]
        lines += [f'data["{name}"] = numbers[{i}];' for i, name in enumerate(names)]
        text = (
            '#include "cuda_emulator_mma.h"\n#include <unordered_map>\n#include <vector>\n'
            + header
            + "namespace jittor {\n"
            "struct Var { long num; void* data; template <class T> T* ptr() { return (T*)data; } };\n"
            'extern "C" void run(void** pointers, const long* sizes, const double* numbers) {\n'
            "std::unordered_map<std::string, double> data;\nstd::vector<Var*> _inputs, _outputs;\n"
            + "\n".join(lines)
            + "\n"
            + source
            + "}\n}\n"
        )
        if text not in self.built:
            command = [
                "g++",
                "-std=c++17",
                "-O1",
                "-shared",
                "-fPIC",
                f"-I{EMULATOR}",
                "-x",
                "c++",
                "-",
                "-o",
            ]
            library = built_once(
                "front",
                ".so",
                kernel_sources() + text.encode(),
                lambda path: subprocess.run([*command, str(path)], input=text, text=True, check=True),
            )
            self.built[text] = ctypes.CDLL(str(library)).run
            self.sources.append(source)
        return self.built[text]


@pytest.fixture
def on_cuda(monkeypatch: pytest.MonkeyPatch) -> EmulatedJittor:
    emulated = EmulatedJittor()
    monkeypatch.setattr(cuda_module, "jt", emulated)
    monkeypatch.setattr(cuda_module, "use_fused", lambda *maps: False)
    monkeypatch.setattr(jt, "code", emulated.code)
    return emulated


def normal(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def test_attention(on_cuda: EmulatedJittor) -> None:
    q, k, v, d = (normal(2, length, 24, seed=i) for i, length in enumerate((20, 30, 30, 20)))
    np.random.seed(3)
    seed = np.random.randint(2**31)
    np.random.seed(3)
    variables = tuple(jt.array(x) for x in (q, k, v))
    output = attention(*variables, 2, dropout=0.25)
    expected, grads = attention_float64(q, k, v, 2, None, d, dropout_factors(2, 2, 20, 30, 0.25, seed))
    assert relative_error(output.numpy(), expected) < 2e-6
    assert all(relative_error(a, b) < 5e-6 for a, b in zip(gradients(output, d, variables), grads))
    assert on_cuda.sources and all("TensorFloat<true>" in source for source in on_cuda.sources)


def test_region_attention(on_cuda: EmulatedJittor) -> None:
    layout = RegionLayout((4, 5), (2, 2), 3, 2)
    qkv, d = normal(2, layout.tokens, 72), normal(2, layout.tokens, 24, seed=1)
    variable = jt.array(qkv)
    output = region_attention(variable, 2, layout)
    expected, gradient = region_attention_float64(qkv, 2, layout, d)
    assert relative_error(output.numpy(), expected) < 2e-6
    assert relative_error(gradients(output, d, (variable,))[0], gradient) < 5e-6


def test_layer_norm(on_cuda: EmulatedJittor) -> None:
    x, weight, bias, d = normal(2, 6, 20), normal(20, seed=1), normal(20, seed=2), normal(2, 6, 20, seed=3)
    variables = tuple(jt.array(a) for a in (x, weight, bias))
    output = layer_norm(*variables)
    expected, grads = layer_norm_float64(x, weight, bias, 1e-5, d)
    assert relative_error(output.numpy(), expected) < 1e-6
    assert all(relative_error(a, b) < 2e-6 for a, b in zip(gradients(output, d, variables), grads))


def test_class_map(on_cuda: EmulatedJittor) -> None:
    """Also for a copy of the image's own size, whose scores are not resized again."""
    rng = np.random.default_rng(0)
    bias = np.array([0.1, 0, 0.1, 0, 0], np.float32)
    copies = mixed_copies(rng)
    assert_best(copies, (37, 71), bias)
    assert_best(copies[:1], (40, 52), bias)
    assert on_cuda.sources


def test_class_map_of_logits(on_cuda: EmulatedJittor) -> None:
    logits = np.zeros((1, 1, 3, 2, 2), np.float32)
    logits[0, 0, :, :, 0] = np.array([30, 20, 30])[:, None]
    logits[0, 0, :, :, 1] = np.array([20, 40, 40])[:, None]
    copies = [GridCopy(jt.array(logits), (2, 2), (2, 2), [(0, 0)])]
    assert class_map(copies, (2, 2)).mask.numpy().tolist() == [[[0, 0], [0, 0]]]
    assert class_map(copies, (2, 2), as_logits=True).mask.numpy().tolist() == [[[0, 1], [0, 1]]]


@pytest.mark.parametrize(
    "images, classes, grid, size",
    [(2, 3, (4, 3), (37, 21)), (1, 2, (1, 1), (2, 1)), (1, 2, (9, 8), (5, 8)), (1, 2, (3, 5), (70, 75))],
)
def test_focal_dice(on_cuda: EmulatedJittor, images: int, classes: int, grid, size) -> None:
    assert_sums_and_gradients(images, classes, grid, size)
    assert len(on_cuda.sources) == 2


def test_adamw(on_cuda: EmulatedJittor) -> None:
    """More than a block of threads, nothing, and another group; never another source."""
    assert_step([(1,), (3, 2), (32769,), (0,), (17, 300), (5,), *[(2, 2)] * SLOTS])
    assert_step([(0,)])
    assert len(set(on_cuda.sources)) == 1


def test_float16(on_cuda: EmulatedJittor) -> None:
    q, k, v = (normal(1, length, 16, seed=i).astype(np.float16) for i, length in enumerate((9, 12, 12)))
    output = attention(*(jt.array(x) for x in (q, k, v)), 1)
    assert output.dtype == "float16" and any("SixteenBit<__half>" in source for source in on_cuda.sources)
    assert relative_error(output.numpy(), attention_float64(q, k, v, 1, None, q)[0]) < 2e-3


def test_what_the_kernels_do_not_take(on_cuda: EmulatedJittor, monkeypatch: pytest.MonkeyPatch) -> None:
    """The kernels refuse wide heads, float64, mixed types, an old GPU or none, and obey the user's switch."""
    x = jt.array(normal(1, 4, 16))
    takes = cuda_module.use_cuda_kernels
    assert takes(x, x, head_width=64) and not takes(x, head_width=65)
    assert takes(x.cast("float16"), head_width=128) and not takes(x.cast("float16"), head_width=129)
    assert not takes(x.cast("float64")) and not takes(x, x.cast("float16"))
    assert cuda_module.resizes_maps(x, x) and not cuda_module.resizes_maps(x.cast("float16"))
    with monkeypatch.context() as patch:
        patch.setattr(on_cuda.flags, "cuda_archs", [75, 80])
        assert not takes(x) and not cuda_module.resizes_maps(x)
        patch.setattr(on_cuda.flags, "cuda_archs", [])
        assert not takes(x)
    monkeypatch.setenv("JSEG_FUSED", "0")
    assert not takes(x) and not cuda_module.resizes_maps(x)


def test_tf32_where_jittor_allows_it(on_cuda: EmulatedJittor, monkeypatch: pytest.MonkeyPatch) -> None:
    code = cuda_module.cuda_code
    assert "TensorFloat<true>" in code((), "", "float32")["cuda_src"]
    monkeypatch.setattr(on_cuda.flags, "use_tensorcore", 1)
    assert "TensorFloat<false>" in code((), "", "float32")["cuda_src"]
    assert "SixteenBit<__nv_bfloat16>" in code((), "", "bfloat16", 65)["cuda_src"]
    assert "kHeadWidth = 128" in code((), "", "bfloat16", 65)["cuda_src"]
    monkeypatch.setattr(on_cuda.flags, "use_cuda", 0)
    assert code((), "", "float32") == {}
