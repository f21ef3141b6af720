"""Addresses that servers listen at."""

import ipaddress
import socket
from collections.abc import Iterator
from contextlib import contextmanager

from xpm.errors import UsageError

_BACKLOG = 2048


@contextmanager
def listening_at(host: str, port: int) -> Iterator[socket.socket]:
    """A listening socket; raises UsageError if the address can't be had."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        listening = socket.create_server((host, port), family=family, backlog=_BACKLOG)
    except OSError as error:
        raise UsageError(
            f"{host} port {port} can't be served",
            context=error.strerror or str(error),
            hint="another program may hold it: choose another --port",
        ) from error
    with listening:
        yield listening


def address_of(listening: socket.socket) -> str:
    host, port = listening.getsockname()[:2]
    return f"http://{f'[{host}]' if ':' in host else host}:{port}"


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches an address."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
