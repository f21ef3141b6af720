"""Connections: nothing that was written waits for more, and a client may not take for ever to say what it wants."""

import asyncio
import socket
from typing import Any

from uvicorn.protocols.http.h11_impl import H11Protocol

HEADERS_S = 20.0


class PatientProtocol(H11Protocol):
    """uvicorn's own, but that a client must have sent the headers of its first request within ``HEADERS_S``.

    asyncio switches Nagle's algorithm off for sockets that say that they are TCP's; those that a listening socket
    without a protocol accepts don't, and each answer would wait 40 ms for the client's acknowledgement.
    """

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        transport.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._impatience = self.loop.call_later(HEADERS_S, self._give_up)

    def connection_lost(self, exc: Exception | None) -> None:
        self._impatience.cancel()
        super().connection_lost(exc)

    def _give_up(self) -> None:
        cycle: Any = self.cycle
        if cycle is None and not self.transport.is_closing():
            self.transport.close()
