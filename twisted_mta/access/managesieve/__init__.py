"""ManageSieve sessions: accounts look after their Sieve scripts."""
