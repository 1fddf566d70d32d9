"""POP3, server side, without I/O (RFC 1939)."""
