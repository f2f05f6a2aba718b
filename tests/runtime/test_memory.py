"""Out of memory: one sentence of advice for any source. Other errors are unchanged."""

import subprocess
import sys
from pathlib import Path

import pytest

from jseg.runtime.memory import INFERENCE, TRAINING, OutOfMemory, memory_advice

# As Jittor 1.3.11 words them (cuda_device_allocator.cc, mem_info.cc), shortened in the middle.
_CUDA = (
    "Wrong inputs arguments... Execute fused operator(3/9) failed: [Op(code)] ... [Error] source file "
    "location: "
    "/root/.cache/jittor/x_op.cc Unable to alloc cuda device memory for size 8589934592 **********"
)
_OVERFLOW = (
    "******* GPU memory is overflow, please reduce your batch_size or data size! Total: 80GB Used: 79GB"
)


_ROOT = Path(__file__).resolve().parents[2]
_LIMITED = """
import resource, sys
sys.path.insert(0, {root!r})
from jseg.runtime.backend import jt
from jseg.runtime.memory import TRAINING, memory_advice

jt.ones((8, 8)).sync()  # compiles
used = next(int(row.split()[1]) for row in open("/proc/self/status") if row.startswith("VmSize")) << 10
resource.setrlimit(resource.RLIMIT_AS, (used + (600 << 20), resource.RLIM_INFINITY))
kept = [jt.ones((1 << 20, n)) for n in (16, 12, 20)]
jt.sync(kept)
with memory_advice(TRAINING):
    jt.ones((1 << 20, 1024)).sync()
"""


@pytest.mark.parametrize(
    "error, of_gpu, size",
    [
        (RuntimeError(_CUDA), True, "8.00 GiB"),
        (RuntimeError(_OVERFLOW), True, ""),
        (RuntimeError("code=3( CUBLAS_STATUS_ALLOC_FAILED ) cublasCreate"), True, ""),
        (MemoryError("Unable to allocate 3.00 GiB for an array"), False, ""),
        (RuntimeError("fork: Cannot allocate memory"), False, ""),
        (
            RuntimeError("Execute fused operator(50/443) failed. [OP TYPE]: code [Reason]: std::bad_alloc"),
            False,
            "",
        ),
    ],
)
def test_one_sentence_with_advice_and_without_names_of_c(error, of_gpu, size):
    with pytest.raises(OutOfMemory) as caught, memory_advice(TRAINING):
        raise error
    text = str(caught.value)
    assert ("GPU" in text) == of_gpu and size in text
    assert all(
        key in text
        for key in ("batch_size", "model.backbone.num_regions", "model.backbone.checkpoint_blocks")
    )
    assert "Op(" not in text and "\n" not in text and caught.value.__suppress_context__


def test_other_errors_pass_and_inference_has_its_own_advice():
    with pytest.raises(RuntimeError, match="shapes differ"), memory_advice(TRAINING):
        raise RuntimeError("shapes differ")
    with pytest.raises(OutOfMemory, match="inference.mode=slide"), memory_advice(INFERENCE):
        raise MemoryError()
    with memory_advice(TRAINING):
        pass


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs Linux's size of a process")
def test_variables_fit_below_a_limit_and_a_refused_one_is_an_error():
    """No arena of 1 GiB fits there; three blocks of their own size do, and 4 GiB do not."""
    answer = subprocess.run(
        [sys.executable, "-c", _LIMITED.format(root=str(_ROOT))], stderr=subprocess.PIPE, text=True
    )
    assert answer.returncode == 1
    assert "OutOfMemory: the machine is out of memory (4.00 GiB more were needed): raise" in answer.stderr
