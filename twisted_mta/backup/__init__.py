"""Copies of the data directory: taken while the server runs, checked, and put back."""
