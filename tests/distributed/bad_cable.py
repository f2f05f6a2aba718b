"""A network cable that loses and delays frames, for kernels without `tc ... netem`.

    python bad_cable.py CARD CARD LOSS DELAY

forwards every frame between two network cards, in both directions, except a share of LOSS (0 to 1) chosen at
random, DELAY seconds after it arrived. Needs root. Ends when it is killed.
"""

import collections
import contextlib
import random
import select
import socket
import struct
import sys
import time

ALL_PROTOCOLS = 0x0003  # ETH_P_ALL
SOL_PACKET, PACKET_ADD_MEMBERSHIP, PACKET_IGNORE_OUTGOING, PACKET_VNET_HDR = 263, 1, 23, 15
PROMISCUOUS = 1  # PACKET_MR_PROMISC
LARGEST = 1 << 17  # bytes: the kernel hands over up to 64 KiB as one frame


def opened(card: str) -> socket.socket:
    """A socket for all frames that arrive at a card, whoever they are for.

    With the headers that network cards of virtual machines have, checksums and the cutting into frames are
    left to the receiving kernel.
    """
    found = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ALL_PROTOCOLS))
    found.setsockopt(SOL_PACKET, PACKET_VNET_HDR, 1)
    found.setsockopt(SOL_PACKET, PACKET_IGNORE_OUTGOING, 1)
    found.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 22)
    found.bind((card, 0))
    member = struct.pack("iHH8s", socket.if_nametoindex(card), PROMISCUOUS, 0, b"")
    found.setsockopt(SOL_PACKET, PACKET_ADD_MEMBERSHIP, member)
    found.setblocking(False)
    return found


def forward(cards: tuple[str, str], loss: float, delay: float, seed: int = 0) -> None:
    """Forwards until it is killed."""
    first, second = map(opened, cards)
    other = {first: second, second: first}
    chance = random.Random(seed)
    waiting: collections.deque[tuple[float, socket.socket, bytes]] = collections.deque()
    print("ready", flush=True)
    while True:
        left = max(0.0, waiting[0][0] - time.monotonic()) if waiting else None
        for arrived in select.select([first, second], [], [], left)[0]:
            with contextlib.suppress(BlockingIOError):
                while True:
                    frame = arrived.recv(LARGEST)
                    if chance.random() >= loss:
                        waiting.append((time.monotonic() + delay, other[arrived], frame))
        while waiting and waiting[0][0] <= time.monotonic():
            _, target, frame = waiting.popleft()
            with contextlib.suppress(OSError):  # a full queue loses frames too
                target.send(frame)


if __name__ == "__main__":
    forward((sys.argv[1], sys.argv[2]), float(sys.argv[3]), float(sys.argv[4]))
