"""The configuration: a module for each table of the file."""
