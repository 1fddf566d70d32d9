"""The relay: takes mail for other domains to hosts that accept it."""
