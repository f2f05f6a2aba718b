"""The CUDA part of the doctor's report."""

import os
import re
from pathlib import Path

from jseg.runtime.cuda.report import cuda_lines


def test_doctor_lists_what_is_there_and_what_is_off(machine):
    machine.driver(gpus=2)
    machine.wheels_13()
    lines = {line.name: line for line in cuda_lines()}
    assert lines["CUDA"].usable and re.search(r"\b13\.0\b.*\bwheels\b", lines["CUDA"].text)
    assert re.search(r"\b2\b.*Test GPU.*\b13\.0\b", lines["GPU"].text)
    assert "cuBLAS 13.4.5" in lines["libraries"].text and "NCCL" in lines["NCCL"].name
    off = [line.text for line in cuda_lines() if line.name == "without"]
    assert any("cuDNN" in text for text in off) and any("CUTT" in text for text in off)


def test_doctor_notes_a_cuda_home_that_is_ignored(machine):
    machine.driver(version=(12, 8))
    machine.toolkit("12.4")

    def note():
        return [
            (line.usable, line.text.replace(os.environ["CUDA_HOME"], ""))
            for line in cuda_lines()
            if line.name == "CUDA_HOME"
        ]

    assert note() == []
    os.environ["CUDA_HOME"] = str(machine.opt / "cuda-12.4")
    assert note() == []
    os.environ["CUDA_HOME"] = "/no/such/folder"
    ((usable, absent),) = note()
    assert not usable and "bin/nvcc" in absent
    os.environ["CUDA_HOME"] = str(machine.program(machine.root / "broken" / "bin" / "nvcc", "").parents[1])
    ((usable, silent),) = note()
    assert not usable and "nvcc" in silent and silent != absent
    os.environ["CUDA_HOME"] = str(machine.toolkit("13.0"))
    ((usable, text),) = note()
    assert not usable and re.search(r"\b12\.8\b.*\b13\.0\b", text)


def test_doctor_sees_what_only_a_compilation_shows(machine):
    """nvcc refused g++, but the report used to say that everything works."""
    machine.driver()
    machine.toolkit("11.8", most_gcc=11)
    assert cuda_lines()[0].usable  # believed, where no compiler is there to try
    first, libraries = cuda_lines(machine.cache, str(machine.bin / "g++"))[:2]
    assert not first.usable and "unsupported GNU version" in first.text and "g++" in first.fix
    assert libraries.usable


def test_doctor_marks_missing_libraries(machine):
    machine.driver()
    machine.toolkit("12.4", names="cudart")
    off, libraries = cuda_lines()
    assert not off.usable and "pip install" in off.fix
    assert not libraries.usable and "cuBLAS" in libraries.text and "cuRAND" in libraries.text
    assert not re.search(r"\d", libraries.text)  # no version of any


def test_doctor_shows_the_toolkit_of_a_machine_without_a_gpu(machine):
    machine.toolkit("13.0")
    os.environ["CUDA_HOME"] = "/no/such/folder"
    off, toolkit, libraries, home = cuda_lines()
    assert not off.usable and "libcuda.so.1" in off.text
    assert toolkit.name == "toolkit" and toolkit.text.startswith("13.0") and libraries.name == "libraries"
    assert home.name == "CUDA_HOME" and "/no/such/folder" in home.text and "bin/nvcc" in home.text


def test_a_program_that_nvcc_path_names_must_be_there(machine):
    os.environ["nvcc_path"] = "/no/such/nvcc"
    (line,) = cuda_lines()
    assert not line.usable and "/no/such/nvcc" in line.text and "unset nvcc_path" in line.fix


def test_a_folder_of_path_that_may_not_be_read(machine, monkeypatch):
    """As under `su`, such a folder is skipped. Before Python 3.14, Path.is_file raises there."""
    machine.toolkit("13.0")
    is_file = Path.is_file

    def refused(path):
        if path.parts[:2] == ("/", "locked"):
            raise PermissionError(13, "Permission denied", str(path))
        return is_file(path)

    monkeypatch.setattr(Path, "is_file", refused)
    os.environ["PATH"] = f"/locked:{os.environ['PATH']}"
    os.environ["CUDA_HOME"] = "/locked/cuda"
    assert any(line.name == "toolkit" for line in cuda_lines())
