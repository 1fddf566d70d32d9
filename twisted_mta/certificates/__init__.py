"""What TLS shows to clients, and how it is got."""
