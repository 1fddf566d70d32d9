"""The commands of IMAP: for each group a module with its values, how they are read, and their names."""
