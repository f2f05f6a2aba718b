"""A short run of the fault injection: two kills of real trainings; the long one is
`fault_injection.py --kills 40`."""

import re

import fault_injection
import pytest

pytestmark = pytest.mark.slow


@pytest.mark.skipif(bool(fault_injection.WITHOUT_MPIRUN), reason=fault_injection.WITHOUT_MPIRUN)
def test_killed_trainings_lose_nothing_and_repeat_the_unbroken_curve(tmp_path, capsys):
    status = fault_injection.main(
        ["--kills", "2", "--ranks", "2", "--iterations", "7", "--seed", "1", "--out", str(tmp_path)]
    )
    printed = capsys.readouterr().out
    assert status == 0, printed
    assert re.findall(r"\d+", printed.splitlines()[-1]) == ["0"]  # lost checkpoints
