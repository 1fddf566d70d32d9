"""Mail between an account and files of other programs, and a look at whether all is well."""
