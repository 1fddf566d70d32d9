"""`mta`: a module for each group of commands."""
