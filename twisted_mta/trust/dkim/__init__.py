"""DKIM: a domain answers for a message (RFC 6376, RFC 8301, RFC 8463)."""
