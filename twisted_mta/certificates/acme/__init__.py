"""Certificates from an authority that hands them out by itself (ACME, RFC 8555)."""
