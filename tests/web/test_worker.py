"""The queue and its thread."""

import gc
import threading
import time
import weakref
from concurrent.futures import ThreadPoolExecutor

import pytest

from jseg.runtime.memory import OutOfMemory
from jseg.web.refusal import Refusal
from jseg.web.worker import UPLOAD, Worker


@pytest.fixture
def worker():
    made = Worker(waiting=2, seconds=20)
    yield made
    assert made.close()


@pytest.fixture
def pool():
    with ThreadPoolExecutor(8) as made:
        yield made


class Blocked:
    """A job that checks its ticket until `go` is set."""

    def __init__(self):
        self.running, self.go = threading.Event(), threading.Event()

    def __call__(self, ticket):
        self.running.set()
        while not self.go.wait(0.01):
            ticket.check()
        return "done"


def begun(pool, worker, *names):
    job = Blocked()
    future = pool.submit(worker.run, job, *names)
    assert job.running.wait(5)
    return job, future


def queued(pool, worker, job, *names):
    before = len(worker._queue)
    future = pool.submit(worker.run, job, *names)
    while len(worker._queue) == before and not future.done():
        time.sleep(0.005)
    return future


def status(future):
    with pytest.raises(Refusal) as refusal:
        future.result(5)
    return refusal.value.status


def test_jobs_run_one_after_the_other_in_one_thread(worker, pool):
    job, first = begun(pool, worker)
    second = queued(pool, worker, lambda _: threading.current_thread().name)
    assert not second.done()
    job.go.set()
    assert (first.result(5), second.result(5)) == ("done", "jseg-web-worker")


def test_a_full_queue_refuses_at_once_and_says_when_to_come_back(worker, pool):
    job, first = begun(pool, worker)
    waiting = [queued(pool, worker, lambda _: 1) for _ in range(2)]
    with pytest.raises(Refusal) as full:
        worker.run(lambda _: 1)
    assert full.value.status == 503 and full.value.retry_after >= 1
    job.go.set()
    assert [future.result(5) for future in (first, *waiting)] == ["done", 1, 1]


def test_a_newer_question_takes_the_place_of_an_older_one(worker, pool):
    _, running = begun(pool, worker, "me", "segment a")
    other = queued(pool, worker, lambda _: "other pane", "me", "segment b")
    newest = queued(pool, worker, lambda _: "newest", "me", "segment a")
    assert status(running) == 409
    assert (other.result(5), newest.result(5)) == ("other pane", "newest")


def test_an_upload_ends_all_that_its_client_has_asked_and_nothing_else(worker, pool):
    _, running = begun(pool, worker, "me", "segment a")
    mine = queued(pool, worker, lambda _: "mine", "me", "segment b")
    yours = queued(pool, worker, lambda _: "yours", "you", "segment b")
    upload = queued(pool, worker, lambda _: "upload", "me", UPLOAD)
    assert status(running) == status(mine) == 409
    assert (yours.result(5), upload.result(5)) == ("yours", "upload")


def test_what_takes_too_long_ends(pool):
    worker = Worker(waiting=2, seconds=0.1)
    job = Blocked()
    with pytest.raises(Refusal, match=r"0\.1 s"):
        worker.run(job)
    assert worker.close()


@pytest.mark.parametrize(
    "error, kind, code",
    [
        (lambda: ValueError("a word"), ValueError, None),
        (lambda: FileNotFoundError("no file"), ValueError, None),
        (lambda: OutOfMemory("too little"), Refusal, 503),
        (lambda: Refusal(404, "not here"), Refusal, 404),
        (lambda: RuntimeError("secret path"), Refusal, 500),
    ],
    ids=["ValueError", "OSError", "OutOfMemory", "Refusal", "RuntimeError"],
)
def test_errors_come_without_the_memory_of_the_job(worker, error, kind, code, capsys):
    """A traceback would refer to the variables of the job, which another thread would then free."""
    held = []

    class Large:
        pass

    def job(_):
        large = Large()
        held.append(weakref.ref(large))
        raise error()

    with pytest.raises(kind) as caught:
        worker.run(job)
    assert getattr(caught.value, "status", None) == code
    assert "secret" not in str(caught.value)
    gc.collect()
    assert held[0]() is None
    assert ("RuntimeError: secret path" in capsys.readouterr().out) is (code == 500)


def test_closing_refuses_what_waits_and_ends_what_runs(pool):
    worker = Worker(waiting=2, seconds=20)
    _, running = begun(pool, worker)
    waiting = queued(pool, worker, lambda _: 1)
    assert worker.close()
    assert status(running) == status(waiting) == status(pool.submit(worker.run, lambda _: 1)) == 503
