"""Who exists here: accounts, aliases and passwords of the local domains."""
