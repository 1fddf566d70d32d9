"""IMAP4rev1 sessions over the message store (RFC 3501): one module a group of commands."""
