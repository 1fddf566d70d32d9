"""A name server that cannot answer and says so at once, for servers that are not to find anybody.

A port at which nobody listens would do for that, too, but whoever asks there waits until the time is up.
"""

from __future__ import annotations

import socket
import threading
from functools import cache

import dns.exception
import dns.message
import dns.rcode


@cache
def failing_dns() -> str:
    """Its address and port; one for all tests of this process."""
    server = socket.socket(type=socket.SOCK_DGRAM)
    server.bind(("127.0.0.1", 0))
    threading.Thread(target=_answer, args=(server,), daemon=True).start()
    return f"127.0.0.1:{server.getsockname()[1]}"


def _answer(server: socket.socket) -> None:
    while True:
        octets, client = server.recvfrom(4096)
        try:
            answer = dns.message.make_response(dns.message.from_wire(octets))
        except dns.exception.DNSException:
            continue
        answer.set_rcode(dns.rcode.SERVFAIL)
        server.sendto(answer.to_wire(), client)
