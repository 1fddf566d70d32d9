"""Answers to those who track their messages from outside (RFC 3887)."""
