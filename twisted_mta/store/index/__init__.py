"""The index of an account: every table, every statement, and the rows as values."""
