"""Run by test_training.py under `mpirun`: trains, evaluates and
segments with the tiny model in the folder argv[1]."""

import sys

from tiny import tiny_config

from jseg.distributed import rank
from jseg.runner import Runner
from jseg.runtime.backend import jt

folder = sys.argv[1]
Runner(tiny_config(folder)).train()
Runner(tiny_config(folder)).val(per_image=True)
Runner(tiny_config(folder)).test()  # one image for all ranks

try:
    runner = Runner(tiny_config(folder + "-other"))
    model = runner.experiment.model()
    if rank() == 1:
        model.bias.update(jt.ones(model.bias.shape))
    runner.train()
except ValueError as error:
    assert all(part in str(error) for part in ("rank 1", "rank 0", "bias")), error
else:
    raise AssertionError("other weights on rank 1 were not noticed")

try:
    Runner(tiny_config(folder + "-odd", batch_size=3)).train()
except ValueError as error:
    assert "batch_size=2" in str(error), error
else:
    raise AssertionError("three images were dealt out to two ranks")
sys.stdout.write(f"rank {rank()} is done\n")
