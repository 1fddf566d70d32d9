"""The journey of a message, told in small events that the log and later readers listen to."""
