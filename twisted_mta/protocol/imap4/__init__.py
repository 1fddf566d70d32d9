"""IMAP4rev1 without I/O (RFC 3501 and its extensions): octets in, commands out, responses rendered."""
