"""SASL mechanisms and the base64 lines that carry them (RFC 4422), shared by SMTP, IMAP and POP3."""
