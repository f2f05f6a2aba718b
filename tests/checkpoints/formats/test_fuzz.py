"""A short run of the fuzzer (its own script runs longer ones)."""

import signal
from pathlib import Path

import pytest
from fuzz_checkpoints import Watch, base_files, fuzz, overdue

pytestmark = pytest.mark.slow


def test_a_thousand_damaged_files_of_all_formats(tmp_path: Path) -> None:
    watch = Watch()
    previous = signal.signal(signal.SIGALRM, overdue)
    try:
        outcomes, failures = fuzz(tmp_path, 1_100, seed=7, watch=watch)
    finally:
        signal.signal(signal.SIGALRM, previous)
    assert failures == []
    for kind in base_files():  # a fuzzer that damages nothing, or everything at once, tests nothing
        assert outcomes[kind, "refused"] > 50, kind
    assert sum(count for (_, outcome), count in outcomes.items() if outcome == "read") > 30


def test_the_watch_notices_forbidden_events() -> None:
    watch = Watch()
    watch.active = True
    compile("1", "test", "eval")
    watch.active = False
    assert watch.events and watch.events[0].startswith("compile")
