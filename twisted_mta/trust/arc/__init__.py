"""ARC: what hosts on the way knew about a message before they changed it (RFC 8617)."""
