"""Sieve at delivery: an account's script is asked, and what it decides is carried out."""
