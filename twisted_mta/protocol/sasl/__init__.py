"""SASL mechanisms and the base64 lines that carry them (RFC 4422), for SMTP, IMAP, POP3 and ManageSieve."""
