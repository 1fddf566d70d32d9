"""The message store: accounts, mailboxes and messages on disk. It knows no protocol."""
