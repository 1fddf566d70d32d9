"""Accounts and aliases that an LDAP server has, beside those of the directory itself."""
