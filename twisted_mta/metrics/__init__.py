"""What is counted while the server works, and how Prometheus reads it: integers and nothing else, no address
and no word of a stranger ever becomes a label."""
