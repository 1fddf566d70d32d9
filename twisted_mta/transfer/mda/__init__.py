"""The mail delivery agent: from the queue into the message store (RFC 5598 §4.2.2)."""
