"""Several virtual hosts on one machine: network namespaces connected to a switch, to run `mpirun` on.

    python tests/distributed/hosts.py --hosts 2 --out /tmp/hosts mpirun --hostfile HOSTFILE -n 2 hostname

runs a command on the first of two hosts, in the folder `--out`, with HOSTFILE replaced by a host file that
names them all.

A host has a name, an address and a network card `eth0`; /tmp, home folder, /dev/shm and work disk are its
own. Python, jseg and the folder of the hosts are those of the machine, at the same paths; CPUs and
/proc are shared. `mpirun` enters a host by a script in place of ssh, which like sshd starts from a clean
environment.

Needs root, and Debian's util-linux and iproute2. The machine's own network is left alone, and nothing
outlives the processes that hold the namespaces, except the folder.
"""

import argparse
import contextlib
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
TOOLS = ("unshare", "nsenter", "mount", "ip", "tc", "hostname")
NETWORK = "10.77.0"  # the hosts' addresses end with their number
_NAMESPACES = ("--net", "--uts", "--ipc", "--mount")
# A folder is covered by one of the host's; what lies below it and must stay is put back.
_HOLD = r"""
set -e
IFS='
'
cover() {
    mount --rbind "$1" /mnt
    mount --rbind "$2" "$1"
    for path in $KEPT; do
        case "$path" in "$1"/*)
            mkdir -p "$path"
            mount --rbind "/mnt/${path#"$1"/}" "$path"
        esac
    done
    umount --lazy /mnt
}
hostname "$NAME"
ip link set lo up
mount --bind "$FOLDER/hosts" /etc/hosts
mount -t tmpfs tmpfs /dev/shm
mount --bind "$FOLDER/disk" "$DISK"
# Jittor's cache, so that the hosts need not compile everything again; what they write is their own.
if [ -d "$HOME/.cache/jittor" ]; then
    cache="lowerdir=$HOME/.cache/jittor,upperdir=$FOLDER/cache/upper,workdir=$FOLDER/cache/work"
    mount -t overlay -o "$cache" overlay "$FOLDER/home/.cache/jittor"
fi
cover "$HOME" "$FOLDER/home"
cover /tmp "$FOLDER/tmp"
echo ready
exec sleep infinity
"""
_AGENT = """#!/bin/sh
# Called by mpirun as ssh would be: HOST COMMAND...
host=$1
shift
exec nsenter --target "$(cat "{folder}/$host/pid")" {namespaces} env -i HOME={home} USER=root SHELL=/bin/sh \\
    PATH=/usr/local/bin:/usr/bin:/bin sh -c "cd; $*"
"""


def missing() -> str:
    """Returns the reason why hosts cannot be created here, or ""."""
    if not sys.platform.startswith("linux") or os.geteuid():
        return "hosts are Linux namespaces, which root alone may make"
    absent = [tool for tool in TOOLS if shutil.which(tool) is None]
    if absent:
        return f"{', '.join(absent)} not found; apt-get install util-linux iproute2"
    trial = (
        "ip link add port type veth peer name eth0 && ip link add switch type bridge && mount -t tmpfs x /mnt"
    )
    done = subprocess.run(["unshare", *_NAMESPACES, "sh", "-c", trial], capture_output=True, text=True)
    return (
        f"this machine allows no namespaces with a network: {done.stderr.strip()}" if done.returncode else ""
    )


@dataclass(frozen=True)
class Host:
    """One of the hosts. `process` keeps its namespaces alive, and `folder` contains its own folders."""

    name: str
    address: str
    folder: Path
    process: subprocess.Popen

    def enter(self) -> list[str]:
        """Prefix of commands to be run on this host."""
        return ["nsenter", "--target", str(self.process.pid), *_NAMESPACES]

    def processes(self) -> list[int]:
        """Processes on this host, without the one that keeps it alive."""
        own = Path(f"/proc/{self.process.pid}/ns/net").readlink()
        found = []
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit() and int(entry.name) != self.process.pid:
                with contextlib.suppress(OSError):  # it has ended
                    if (entry / "ns" / "net").readlink() == own:
                        found.append(int(entry.name))
        return found

    def kill(self) -> None:
        """Kills all processes on this host immediately, like a power failure."""
        while processes := self.processes():
            for pid in processes:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)


class Hosts:
    """Hosts that exist during the `with` block.

    Args:
        folder: holds what the hosts have of their own, and what they share; made if it is missing.
        count: how many, up to 250.

    Attributes:
        hosts: the hosts; commands start on the first.
        shared: a folder that is the same on all.
        disk: a path at which each has a folder of its own.

    Raises:
        RuntimeError: a host could not be made.
    """

    def __init__(self, folder: Path, count: int) -> None:
        self.folder, self.count = folder.resolve(), count
        self.shared, self.disk = self.folder / "shared", self.folder / "disk"
        self.hosts: list[Host] = []
        self._stack = contextlib.ExitStack()

    def __enter__(self) -> "Hosts":
        for path in (self.shared, self.disk):
            path.mkdir(parents=True, exist_ok=True)
        agent = self.folder / "agent"
        agent.write_text(
            _AGENT.format(folder=self.folder, namespaces=" ".join(_NAMESPACES), home=Path.home())
        )
        agent.chmod(0o755)
        with self._stack:
            self._switch = self._hold(["unshare", "--net"], "echo ready; exec sleep infinity", {})
            self._network(self._switch, "ip link add switch type bridge && ip link set switch up")
            names = [f"node{number}" for number in range(1, self.count + 1)]
            for number, name in enumerate(names, 1):
                self._add(number, name, names)
            self._stack = self._stack.pop_all()
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._stack.close()

    def hostfile(self, count: int, slots: int) -> Path:
        """A host file for `mpirun` that names the first `count` hosts, with `slots` ranks each."""
        path = self.folder / f"hostfile_{count}x{slots}"
        path.write_text("".join(f"{host.name} slots={slots}\n" for host in self.hosts[:count]))
        return path

    def environment(self) -> dict[str, str]:
        """Variables of a user who has logged in and activated jseg's virtual environment."""
        kept = {
            name: value
            for name, value in os.environ.items()
            if name != "use_mpi" and not name.startswith(("OMPI_", "PMIX_"))
        }
        return {
            **kept,
            "PATH": os.pathsep.join((str(Path(sys.prefix) / "bin"), os.environ.get("PATH", ""))),
            "PYTHONPATH": str(ROOT),
            "OMPI_MCA_plm_rsh_agent": str(self.folder / "agent"),
            "OMPI_ALLOW_RUN_AS_ROOT": "1",
            "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1",
        }

    def cable(self, host: int, connected: bool) -> None:
        """Pulls the network cable of a host out of the switch, or puts it back and waits until that works."""
        self._network(self._switch, f"ip link set port{host + 1} {'up' if connected else 'down'}")
        end = time.monotonic() + 30
        while connected and not self._reaches(host, self.hosts[host - 1]) and time.monotonic() < end:
            time.sleep(0.2)

    def _reaches(self, host: int, other: "Host") -> bool:
        """Whether `other` refuses a connection from a host, instead of saying nothing."""
        enter = ["nsenter", "--target", str(self.hosts[host].process.pid), "--net", sys.executable, "-c"]
        probe = f"import socket; socket.create_connection(({other.address!r}, 9), 1)"
        return (
            "ConnectionRefusedError" in subprocess.run([*enter, probe], capture_output=True, text=True).stderr
        )

    @contextlib.contextmanager
    def disturbed(self, host: int, loss: float, delay: float) -> Iterator[None]:
        """Replaces the cable of a host by one that loses a share of the frames, and needs `delay` seconds."""
        number, switch = host + 1, self._switch
        port, near, far = f"port{number}", f"near{number}", f"far{number}"
        self._network(switch, f"ip link add {near} type veth peer name {far} && ip link set {near} up")
        self._network(switch, f"ip link set {far} master switch up && ip link set {port} nomaster")
        script = str(Path(__file__).with_name("bad_cable.py"))
        enter = ["nsenter", "--target", str(switch.pid), "--net", sys.executable, script]
        cable = subprocess.Popen(
            [*enter, port, near, str(loss), str(delay)], stdout=subprocess.PIPE, text=True
        )
        try:
            if cable.stdout.readline() != "ready\n":
                raise RuntimeError("the bad cable could not be made")
            yield
        finally:
            cable.kill()
            cable.wait()
            self._network(switch, f"ip link set {port} master switch && ip link del {near}")

    def limit(self, host: int, rate: str) -> None:
        """Limits what a host sends and receives to `rate`, in the notation of tc(8): 100mbit, 1gbit.
        "" removes the limit."""
        for process, card in ((self._switch, f"port{host + 1}"), (self.hosts[host].process, "eth0")):
            self._network(process, f"tc qdisc del dev {card} root 2>&- || true")
            if rate:
                # As large as the kernel's largest frame, and little beside a message.
                command = f"tc qdisc add dev {card} root tbf rate {rate} burst 256kb latency 100ms"
                self._network(process, command)

    def start(self, command: Sequence[str], host: int = 0, **options: Any) -> subprocess.Popen:
        """Starts a command on a host, in the folder of the hosts; `options` are those of Popen."""
        # The shell looks the folder up on the host.
        enter = [*self.hosts[host].enter(), "sh", "-c", 'cd "$0" && exec "$@"', str(self.folder)]
        return subprocess.Popen([*enter, *command], **{"env": self.environment(), **options})

    def _add(self, number: int, name: str, names: Sequence[str]) -> None:
        folder = self.folder / name
        for part in ("home/.cache/jittor", "tmp", "disk", "cache/upper", "cache/work"):
            (folder / part).mkdir(parents=True, exist_ok=True)
        self._stack.callback(shutil.rmtree, folder / "cache", ignore_errors=True)
        lines = [f"{NETWORK}.{index} {other}\n" for index, other in enumerate(names, 1)]
        (folder / "hosts").write_text("127.0.0.1 localhost\n" + "".join(lines))
        kept = sorted({str(path) for path in (ROOT, Path(sys.prefix), Path(sys.base_prefix), self.folder)})
        process = self._hold(
            ["unshare", *_NAMESPACES],
            _HOLD,
            {"NAME": name, "FOLDER": str(folder), "DISK": str(self.disk), "KEPT": "\n".join(kept)},
        )
        (folder / "pid").write_text(str(process.pid))
        host = Host(name, f"{NETWORK}.{number}", folder, process)
        self._stack.callback(host.kill)
        self.hosts.append(host)
        self._network(
            self._switch,
            f"ip link add port{number} type veth peer name eth0 netns {process.pid}"
            f" && ip link set port{number} master switch up",
        )
        self._network(process, f"ip address add {host.address}/24 dev eth0 && ip link set eth0 up")

    def _hold(self, unshare: Sequence[str], script: str, variables: dict[str, str]) -> subprocess.Popen:
        process = subprocess.Popen(
            [*unshare, "sh", "-c", script],
            env={**os.environ, "HOME": str(Path.home()), **variables},
            cwd="/",
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        self._stack.callback(process.wait)
        self._stack.callback(process.kill)
        said = process.stdout.readline()
        if said != "ready\n":
            raise RuntimeError(f"a host could not be made: {said}{process.stdout.read()}")
        return process

    def _network(self, process: subprocess.Popen, script: str) -> None:
        enter = ["nsenter", "--target", str(process.pid), "--net", "sh", "-c", script]
        done = subprocess.run(enter, capture_output=True, text=True)
        if done.returncode:
            raise RuntimeError(f"{script}: {done.stderr.strip()}")


def main(argv: Sequence[str] | None = None) -> int:
    """Runs a command on the first host; its exit status."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--hosts", type=int, default=2)
    parser.add_argument("--slots", type=int, default=1, help="ranks of a host, in the host file")
    parser.add_argument("--out", type=Path, required=True, help="folder of the hosts")
    parser.add_argument("command", nargs=argparse.REMAINDER)
    options = parser.parse_args(argv)
    reason = missing()
    if reason:
        parser.error(reason)
    with Hosts(options.out, options.hosts) as hosts:
        hostfile = str(hosts.hostfile(options.hosts, options.slots))
        return hosts.start([hostfile if word == "HOSTFILE" else word for word in options.command]).wait()


if __name__ == "__main__":
    sys.exit(main())
