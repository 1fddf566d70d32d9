"""How much TLS other hosts must offer, and what is told of it."""
