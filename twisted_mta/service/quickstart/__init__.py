"""`mta quickstart`: from questions to files."""
