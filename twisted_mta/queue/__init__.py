"""The durable queue: what was accepted stays until every recipient has an end (RFC 5321 §4.2.5, §6.1)."""
