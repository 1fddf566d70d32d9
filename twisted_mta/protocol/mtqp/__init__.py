"""The Message Tracking Query Protocol (RFC 3887), sans I/O."""
