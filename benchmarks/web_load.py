"""Load on a running `jseg web`: answers, refusals, times and the memory of the server.

    jseg web --port 8000
    python benchmarks/web_load.py http://127.0.0.1:8000 --clients 16 --seconds 60 --pid PID

Each client repeatedly sends a photo and asks three questions about it, each with a new word. After a 503, it
waits for the time in Retry-After. Any other error gives exit status 1.
"""

import argparse
import http.client
import io
import json
import sys
import threading
import time
from collections import Counter
from pathlib import Path
from urllib.parse import urlsplit

import numpy as np
from PIL import Image

QUESTIONS = 3


class Client(threading.Thread):
    """Sends requests until `end` (time.monotonic); counts statuses, and keeps the seconds of answers."""

    def __init__(self, host: str, number: int, side: int, end: float) -> None:
        super().__init__(name=f"client{number}")
        self.statuses: Counter[int] = Counter()
        self.times: list[float] = []
        self.problems: list[str] = []
        self._host, self._end, self._number = host, end, number
        pixels = np.random.default_rng(number).integers(0, 256, (side // 16, side // 16, 3), np.uint8)
        file = io.BytesIO()
        Image.fromarray(pixels).resize((side, side), Image.Resampling.BICUBIC).save(file, "JPEG")
        self._photo = file.getvalue()

    def run(self) -> None:
        turn = 0
        try:
            while time.monotonic() < self._end:
                sent = self._send("/api/images", self._photo, "image/jpeg")
                for question in range(QUESTIONS if sent else 0):
                    turn += 1
                    words = f"red circle, blue ring, thing {self._number} {turn}"
                    body = {"image": sent["image"], "words": words, "num_regions": (1, 4, 16)[question]}
                    self._send("/api/segment", json.dumps(body).encode(), "application/json")
        except (OSError, http.client.HTTPException) as problem:
            self.problems.append(repr(problem))

    def _send(self, path: str, body: bytes, kind: str) -> dict:
        """Returns the answer, or {} after an error or at the end of the time."""
        headers = {"Content-Type": kind, "X-Jseg-Client": self.name}
        while time.monotonic() < self._end:
            start = time.monotonic()
            connection = http.client.HTTPConnection(self._host, timeout=60)
            connection.request("POST", path, body, headers)
            response = connection.getresponse()
            content = response.read()
            connection.close()
            self.statuses[response.status] += 1
            if response.status in (200, 201):
                self.times.append(time.monotonic() - start)
                return json.loads(content)
            if response.status != 503:
                self.problems.append(f"{path}: {response.status} {content[:200]!r}")
                return {}
            time.sleep(int(response.headers["Retry-After"]))
        return {}


def resident(pid: int) -> float:
    """Returns the memory of a process in MiB."""
    line = next(
        line for line in Path(f"/proc/{pid}/status").read_text().splitlines() if line.startswith("VmRSS")
    )
    return int(line.split()[1]) / 1024


def main() -> int:
    """Prints the figures. Returns 0, or 1 after an error."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("link")
    parser.add_argument("--clients", type=int, default=16)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--side", type=int, default=512, help="pixels of the photos (default: %(default)s)")
    parser.add_argument("--pid", type=int, help="process of the server, to measure its memory")
    args = parser.parse_args()
    host, end = urlsplit(args.link).netloc, time.monotonic() + args.seconds
    clients = [Client(host, number, args.side, end) for number in range(args.clients)]
    for client in clients:
        client.start()
    memory = []
    while any(client.is_alive() for client in clients):
        if args.pid:
            memory.append(resident(args.pid))
        time.sleep(1)
    statuses = sum((client.statuses for client in clients), Counter())
    times = np.sort(np.concatenate([client.times for client in clients]))
    problems = [problem for client in clients for problem in client.problems]
    print(f"statuses: {dict(sorted(statuses.items()))}")
    print(f"answers: median {np.median(times):.2f} s, 95 % within {np.quantile(times, 0.95):.2f} s")
    if memory:
        part = max(1, len(memory) // 4)
        quarters = [f"{max(memory[i : i + part]):.0f}" for i in range(0, len(memory), part)]
        print(f"MiB of the server, highest of each quarter: {', '.join(quarters[:4])}")
    for problem in problems[:5]:
        print(f"error: {problem}", file=sys.stderr)
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
