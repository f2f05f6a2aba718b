"""Fuzzes the weight-file readers: `python tests/checkpoints/fuzz_checkpoints.py [--files 24000] [--seed 0]`.

Valid files of every format are damaged in many ways, opened, and every tensor is read. The only accepted
outcomes are success and a ValueError or FileNotFoundError that names the file. Watched at the same time: time
per file (an alarm), memory (address space is limited, and every tenth file is traced: peak <= 2 x file +
allowance), and code execution (Python's audit hook reports any import, exec, process, socket or write
attempted while a file is read).
"""

import argparse
import hashlib
import json
import random
import resource
import signal
import struct
import sys
import tempfile
import time
import tracemalloc
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path[:0] = [str(Path(__file__).resolve().parents[2]), str(Path(__file__).resolve().parent)]

import numpy as np
from checkpoint_writers import (
    Call,
    Global,
    Module,
    Storage,
    Tensor,
    TorchPickler,
    bfloat16_tensor,
    jittor_bytes,
    npz_bytes,
    safetensors_bytes,
    tensor,
    torch_archive_bytes,
    torch_legacy_bytes,
)

from jseg.checkpoints import read_tensors

SECONDS_PER_FILE = 10
_MEMORY = Path("/proc/self/statm")
MEMORY_ALLOWANCE = 2**20
"""Bytes beyond twice the file: the objects of the index (names,
shapes, entries) and the interpreter's own."""

ADDRESS_SPACE_ALLOWANCE = 256 * 2**20
FORBIDDEN_EVENTS = (
    "exec",
    "compile",
    "import",
    "os.system",
    "os.exec",
    "os.fork",
    "os.posix_spawn",
    "os.remove",
    "os.rename",
    "os.mkdir",
    "subprocess.Popen",
    "socket.connect",
    "pickle.find_class",
    "ctypes.dlopen",
    "marshal.loads",
)
HOSTILE_GLOBALS = (
    b"cposix\nsystem\n",
    b"cbuiltins\neval\n",
    b"cos\nmkdir\n",
    b"cnumpy\nload\n",
    b"c__torch__.a\nB\n",
)
INTERESTING = [
    0,
    1,
    -1,
    0x7F,
    0x80,
    0xFF,
    0x7FFF,
    0xFFFF,
    0x7FFFFFFF,
    0x80000000,
    0xFFFFFFFF,
    2**40,
    2**62,
    2**63 - 1,
]
Mutation = Callable[[random.Random, bytearray], None]


def base_arrays() -> dict[str, np.ndarray]:
    generator = np.random.default_rng(0)
    return {
        "visual.conv1.weight": generator.normal(size=(8, 3, 4, 4)).astype(np.float32),
        "visual.proj": generator.normal(size=(16, 24)).astype(np.float16),
        "logit_scale": np.array(4.6),
        "ids": np.arange(40).reshape(5, 8),
        "mask": np.array([True, False, True]),
        "bytes": np.arange(16, dtype=np.uint8),
    }


def torch_root() -> dict[str, Any]:
    arrays = base_arrays()
    shared = Storage(np.arange(48, dtype=np.float32).tobytes(), "FloatStorage", 48)
    weights: dict[str, Any] = {name: tensor(array) for name, array in arrays.items()}
    weights["transposed"] = Tensor(shared, (6, 8), (1, 6))
    weights["slice"] = Tensor(shared, (3, 2), (8, 2), offset=5)
    weights["brain"] = bfloat16_tensor(np.ones((4, 4), np.float32))
    hooks = Call(Global("collections", "OrderedDict"), ())
    weights["parameter"] = Call(
        Global("torch._utils", "_rebuild_parameter"), (tensor(np.ones(3, np.float32)), True, hooks)
    )
    return {
        "meta": {"epoch": 1, "CLASSES": ("a", "b"), "lr": 0.1},
        "state_dict": weights,
        "optimizer": {"state": {0: {"exp_avg": tensor(np.zeros(4, np.float32))}}},
    }


def script_root() -> Module:
    arrays = base_arrays()
    block = Module("__torch__.model.Block", {"training": True, "weight": tensor(arrays["visual.proj"])})
    return Module(
        "__torch__.model.CLIP", {"scale": tensor(arrays["logit_scale"]), "block": block, "mode": None}
    )


def jittor_root() -> dict[str, Any]:
    return {
        "meta": {"iter": 4, "best": np.float32(0.5)},
        "model": base_arrays(),
        "optimizer": {"values": [np.zeros(3)]},
    }


def base_files() -> dict[str, bytes]:
    """One valid file of each format."""
    index = {
        "metadata": {"total_size": 1},
        "weight_map": dict.fromkeys(base_arrays(), "shard.safetensors"),
    }
    return {
        "torch-archive": torch_archive_bytes(torch_root()),
        "torchscript": torch_archive_bytes(script_root(), script=True),
        "torch-legacy": torch_legacy_bytes(torch_root()),
        "safetensors": safetensors_bytes(base_arrays(), {"a": "b"}),
        "safetensors-index": json.dumps(index).encode(),
        "jittor": jittor_bytes(jittor_root()),
        "npz": npz_bytes(base_arrays()),
        "npz-stored": npz_bytes(base_arrays(), compressed=False),
        "jittor-plain": jittor_bytes(jittor_root(), checksum=False),
        "jittor-protocol-2": jittor_bytes(jittor_root(), protocol=2, checksum=False),
        "jittor-protocol-5": jittor_bytes(jittor_root(), protocol=5, checksum=False),
    }


def truncate(rng: random.Random, data: bytearray) -> None:
    del data[rng.randrange(len(data) + 1) :]


def flip_bits(rng: random.Random, data: bytearray) -> None:
    for _ in range(rng.choice((1, 1, 2, 8))):
        data[_position(rng, data)] ^= 1 << rng.randrange(8)


def overwrite(rng: random.Random, data: bytearray) -> None:
    start = _position(rng, data)
    for place in range(start, min(len(data), start + rng.randrange(1, 16))):
        data[place] = rng.randrange(256)


def plant_integer(rng: random.Random, data: bytearray) -> None:
    width = rng.choice((1, 2, 4, 8))
    start = _position(rng, data)
    value = rng.choice(INTERESTING) & (2 ** (8 * width) - 1)
    data[start : start + width] = value.to_bytes(width, rng.choice(("little", "big")))


def insert(rng: random.Random, data: bytearray) -> None:
    start = _position(rng, data)
    data[start:start] = (
        rng.randbytes(rng.choice((1, 4, 64))) if rng.random() < 0.7 else data[: rng.randrange(400)]
    )


def delete(rng: random.Random, data: bytearray) -> None:
    start = _position(rng, data)
    del data[start : start + rng.choice((1, 4, 8, 64))]


def repeat(rng: random.Random, data: bytearray) -> None:
    start = _position(rng, data)
    chunk = data[start : start + rng.choice((1, 2, 10, 60))]
    data[start:start] = chunk * rng.choice((1, 3, 500))


def plant_global(rng: random.Random, data: bytearray) -> None:
    start = _position(rng, data)
    data[start:start] = rng.choice(HOSTILE_GLOBALS) + rng.choice(
        (b"", b"X\x02\x00\x00\x00id\x85R", b")R", b")\x81}b")
    )


def change_digit(rng: random.Random, data: bytearray) -> None:
    digits = [place for place in range(min(len(data), 4000)) if 48 <= data[place] < 58]
    for _ in range(rng.choice((1, 3))):
        if digits:
            data[rng.choice(digits)] = rng.choice(b'0123456789-.eE[{"')


MUTATIONS: tuple[Mutation, ...] = (
    truncate,
    flip_bits,
    overwrite,
    plant_integer,
    insert,
    delete,
    repeat,
    plant_global,
    change_digit,
)


def _position(rng: random.Random, data: bytearray) -> int:
    """Mostly near the ends, where the structure is; anywhere otherwise."""
    if not data:
        data.append(0)
    place = rng.random()
    span = min(len(data), 600)
    if place < 0.3:
        return rng.randrange(span)
    return len(data) - 1 - rng.randrange(span) if place < 0.5 else rng.randrange(len(data))


def mutate(rng: random.Random, files: dict[str, bytes], kind: str) -> bytes:
    """A damaged file of `kind`. Half of those with checksums get correct ones again, so that the damage
    reaches the code after the check."""
    if kind in ("torch-archive", "torchscript") and rng.random() < 0.5:
        pickler = TorchPickler()
        content = bytearray(pickler.dumps(script_root() if kind == "torchscript" else torch_root()))
        _mutate_some(rng, content)
        return torch_archive_bytes(
            None, script=kind == "torchscript", pickle_bytes=bytes(content), storages=pickler.storages
        )
    if kind == "jittor" and rng.random() < 0.5:
        content = bytearray(files["jittor"][:-28])
        _mutate_some(rng, content)
        return bytes(content) + hashlib.sha1(content).digest() + b"HCAJSLHD"
    if kind == "safetensors" and rng.random() < 0.5:
        length = struct.unpack("<Q", files[kind][:8])[0]
        header = bytearray(files[kind][8 : 8 + length])
        _mutate_some(rng, header)
        return struct.pack("<Q", len(header)) + bytes(header) + files[kind][8 + length :]
    content = bytearray(files[kind])
    _mutate_some(rng, content)
    return bytes(content)


def _mutate_some(rng: random.Random, data: bytearray) -> None:
    for _ in range(rng.choice((1, 1, 1, 2, 4))):
        rng.choice(MUTATIONS)(rng, data)


class Watch:
    """Reports forbidden audit events and overdue files while a file is read."""

    def __init__(self) -> None:
        self.active = False
        self.events: list[str] = []
        sys.addaudithook(self._audit)

    def _audit(self, event: str, arguments: tuple[Any, ...]) -> None:
        if self.active and (event in FORBIDDEN_EVENTS or (event == "open" and _for_writing(arguments))):
            self.events.append(f"{event} {arguments!r:.100}")


def _for_writing(arguments: tuple[Any, ...]) -> bool:
    return any(letter in str(arguments[1]) for letter in "wax+")


def overdue(signum: int, frame: Any) -> None:
    """Handler of the alarm that ends a file which takes too long."""
    raise TimeoutError("took too long")


def read_everything(path: Path, watch: Watch) -> str:
    """'read', 'refused', or a description of the failure."""
    watch.active = True
    try:
        tensors = read_tensors(path)
        for name in tensors:
            array = tensors[name]
            assert array.shape == tensors.entry(name).shape and array.dtype == tensors.entry(name).dtype
        return "read"
    except (ValueError, FileNotFoundError) as error:
        return "refused" if path.name in str(error) else f"message without the file name: {error}"
    except BaseException as error:
        if isinstance(error, KeyboardInterrupt):
            raise
        return f"{type(error).__name__}: {error}"
    finally:
        watch.active = False


def fuzz(folder: Path, count: int, seed: int, watch: Watch) -> tuple[Counter, list[str]]:
    """Reads `count` damaged files; outcomes per format, and every failure."""
    files = base_files()
    (folder / "shard.safetensors").write_bytes(safetensors_bytes(base_arrays()))
    outcomes: Counter = Counter()
    failures: list[str] = []
    path = folder / "mutated.bin"
    for kind, content in files.items():  # also imports whatever the readers import lazily
        path.write_bytes(content)
        if read_everything(path, watch) != "read":
            failures.append(f"the undamaged {kind} file is not read")
    watch.events.clear()
    kinds = list(files)
    for number in range(count):
        kind = kinds[number % len(kinds)]
        content = mutate(random.Random(seed * 1_000_003 + number), files, kind)
        path.write_bytes(content)
        traced = number % 10 == 0
        if traced:
            tracemalloc.start()
        signal.alarm(SECONDS_PER_FILE)
        outcome = read_everything(path, watch)
        signal.alarm(0)
        if traced:
            peak = tracemalloc.get_traced_memory()[1]
            tracemalloc.stop()
            if peak > 2 * len(content) + MEMORY_ALLOWANCE:
                outcome = f"used {peak} bytes of memory for a file of {len(content)}"
        if watch.events:
            outcome = f"attempted {watch.events}"
            watch.events = []
        if outcome not in ("read", "refused"):
            failures.append(f"file {number} ({kind}): {outcome}")
        outcomes[kind, outcome if outcome in ("read", "refused") else "failed"] += 1
    return outcomes, failures


def limit_address_space() -> None:
    """A reader that allocates gigabytes raises MemoryError, which counts as a failure."""
    used = int(_MEMORY.read_text(encoding="ascii").split()[0]) * resource.getpagesize()
    resource.setrlimit(
        resource.RLIMIT_AS, (used + ADDRESS_SPACE_ALLOWANCE, resource.getrlimit(resource.RLIMIT_AS)[1])
    )


def main() -> int:
    parser = argparse.ArgumentParser(description="Fuzz the weight-file readers.")
    parser.add_argument("--files", type=int, default=24_000)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    signal.signal(signal.SIGALRM, overdue)
    if _MEMORY.exists():
        limit_address_space()
    start = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        outcomes, failures = fuzz(Path(folder), options.files, options.seed, Watch())
    print(f"{'format':<20}{'read':>8}{'refused':>10}{'failed':>8}")
    for kind in base_files():
        print(
            f"{kind:<20}{outcomes[kind, 'read']:>8}{outcomes[kind, 'refused']:>10}"
            f"{outcomes[kind, 'failed']:>8}"
        )
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    print(
        f"{options.files} files, seed {options.seed}, {time.monotonic() - start:.0f} s, "
        f"peak memory {peak} MiB, "
        f"{len(failures)} failures"
    )
    print(*failures[:20], sep="\n", end="\n" if failures else "")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
