"""Out of memory: one sentence of advice for any source. Other errors are unchanged."""

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


@pytest.mark.parametrize(
    "error, of_gpu, size",
    [
        (RuntimeError(_CUDA), True, "8.00 GiB"),
        (RuntimeError(_OVERFLOW), True, ""),
        (RuntimeError("code=3( CUBLAS_STATUS_ALLOC_FAILED ) cublasCreate"), True, ""),
        (MemoryError("Unable to allocate 3.00 GiB for an array"), False, ""),
        (RuntimeError("fork: Cannot allocate memory"), False, ""),
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
