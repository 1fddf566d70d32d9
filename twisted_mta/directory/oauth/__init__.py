"""Tokens of OAuth as proof of who somebody is: signed ones, and those that their issuer is asked about."""
