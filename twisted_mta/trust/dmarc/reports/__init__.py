"""Aggregate reports: what receivers tell a domain's owner of the mail in its name (RFC 7489 §7.2)."""
