"""The client's side of the milter protocol."""
