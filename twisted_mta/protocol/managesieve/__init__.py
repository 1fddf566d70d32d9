"""ManageSieve (RFC 5804) without I/O."""
