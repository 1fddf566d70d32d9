"""The Twisted side of the sans-I/O engines: what every kind of session shares."""
