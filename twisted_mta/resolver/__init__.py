"""The DNS as routing and judging need it: questions in, what was found out, remembered for a while."""

from twisted_mta.resolver.failure import ResolutionError
from twisted_mta.resolver.name_servers import host_and_port, stub
from twisted_mta.resolver.resolver import DnsResolver

__all__ = ["DnsResolver", "ResolutionError", "host_and_port", "stub"]
