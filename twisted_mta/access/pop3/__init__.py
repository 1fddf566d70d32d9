"""POP3 access to the message store (RFC 1939)."""
