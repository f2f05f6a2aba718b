"""Runs small programs under `mpirun`."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))  # for `tiny`

from fault_injection import MPIRUN, WITHOUT_MPIRUN

ROOT = Path(__file__).resolve().parents[2]
# More ranks than cores are welcome here, and so is root: containers run tests as root.
OPTIONS = ["--allow-run-as-root", "--oversubscribe", "--bind-to", "none"]


def clean_environment(**changes: str) -> dict[str, str]:
    """This environment, without variables that Jittor sets for single processes on import."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if name != "use_mpi" and not name.startswith("OMPI_")
    }
    path = os.pathsep.join(filter(None, (str(ROOT), kept.get("PYTHONPATH"))))
    return {**kept, "PYTHONPATH": path, "OMP_NUM_THREADS": "1", **changes}


@pytest.fixture
def mpirun(tmp_path):
    """mpirun(ranks, program, *arguments) -> what it printed, in no
    order of ranks; its failure fails the test."""
    if WITHOUT_MPIRUN:
        pytest.skip(WITHOUT_MPIRUN)

    def run(
        ranks: int, program: str, *arguments: str, status: int = 0, changes: dict[str, str] | None = None
    ) -> str:
        command: list[str] = [str(MPIRUN), *OPTIONS, "-n", str(ranks), sys.executable, program, *arguments]
        process = subprocess.run(
            command,
            env=clean_environment(**(changes or {})),
            cwd=tmp_path,
            timeout=300,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        assert process.returncode == status, process.stdout[-4000:]
        return process.stdout

    return run
