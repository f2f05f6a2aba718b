"""Access control: allowed host names, no requests from other pages, and a token beyond loopback."""

import contextlib
import hmac
import re
import socket
from dataclasses import dataclass
from urllib.parse import urlsplit

from flask import Request, Response

from jseg.web.refusal import Refusal

LOOPBACK = ("localhost", "127.0.0.1", "[::1]")
_HOST = re.compile(r"(\[[0-9a-f:.%]+\]|[a-z0-9._-]+)(:[0-9]{1,5})?", re.IGNORECASE)

HEADERS = {
    # No script, style, image or connection from elsewhere, nothing inline, and no other page may embed this.
    "Content-Security-Policy": "default-src 'self'; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'; object-src 'none'",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
}


@dataclass(frozen=True)
class Access:
    """Attributes:
    hosts: allowed host names of requests, in lower case, without ports.
    token: required for API requests; None on loopback.
    """

    hosts: tuple[str, ...] = LOOPBACK
    token: str | None = None


def is_loopback(host: str) -> bool:
    """Returns whether an address is only reachable from this machine.

    Raises:
        OSError: if it cannot be resolved.
    """
    found = {entry[4][0] for entry in socket.getaddrinfo(host, None)}
    return all(str(address).startswith("127.") or address == "::1" for address in found)


def network_address() -> str | None:
    """Returns the IPv4 address of this machine in its network, None without a network. Sends nothing."""
    with contextlib.suppress(OSError), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.connect(("192.0.2.1", 9))  # chooses the interface; an address reserved for documentation
        return str(probe.getsockname()[0])
    return None


def names_of(host: str) -> tuple[str, ...]:
    """Returns the names of a server bound to `host`: loopback, `host`, and those of the machine."""
    machine, address = socket.gethostname(), network_address()
    names = [*LOOPBACK, host, machine, socket.getfqdn(), *([address] if address else [])]
    with contextlib.suppress(OSError):  # a machine without an entry for its own name
        names.extend(socket.gethostbyname_ex(machine)[2])
    return tuple(
        dict.fromkeys((f"[{name}]" if ":" in name and name[0] != "[" else name).lower() for name in names)
    )


def check(request: Request, access: Access) -> None:
    """Refuses requests with unknown host names, from other pages, or without the token.

    A page can make its own name resolve to this machine (DNS rebinding), but `Host` then contains that name.
    Flask's TRUSTED_HOSTS does not support IPv6 addresses. Browsers also send the origin of the page in
    `Origin` and `Sec-Fetch-Site`; other programs omit both.

    Raises:
        Refusal: 400, 403 or 401.
    """
    host = _HOST.fullmatch(request.headers.get("Host", ""))
    if host is None or host[1].lower() not in access.hosts:
        raise Refusal(400, "unknown host name; add it with --trusted-host")
    if not request.path.startswith("/api/"):
        return
    origin, site = request.headers.get("Origin"), request.headers.get("Sec-Fetch-Site")
    foreign = origin is not None and urlsplit(origin).netloc != host[0]
    if foreign or site not in (None, "same-origin", "none"):
        raise Refusal(403, "requests from other pages are refused")
    if access.token is not None:
        kind, _, given = request.headers.get("Authorization", "").partition(" ")
        if kind != "Bearer" or not hmac.compare_digest(given.strip().encode(), access.token.encode()):
            raise Refusal(401, "open the page with the link printed by `jseg web`, which contains the token")


def protect(response: Response) -> Response:
    """Adds `HEADERS`, and forbids caching of API responses."""
    for name, value in HEADERS.items():
        response.headers[name] = value
    response.headers["Cache-Control"] = "no-cache" if response.direct_passthrough else "no-store"
    return response
