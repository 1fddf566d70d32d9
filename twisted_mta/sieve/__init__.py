"""The Sieve mail filtering language (RFC 5228): scripts in, what is to become of a message out; no I/O."""
