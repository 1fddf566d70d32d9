"""The journey of a message in small events, told to the log and to a store that tells it again when asked."""
