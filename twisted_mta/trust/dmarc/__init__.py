"""DMARC: what the domain that a reader sees wants done with mail that is not its own (RFC 7489)."""
