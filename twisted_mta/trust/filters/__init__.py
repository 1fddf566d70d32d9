"""Programs beside this server that have a say in what comes in."""
