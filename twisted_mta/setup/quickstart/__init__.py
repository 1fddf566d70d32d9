"""The first configuration of a server: what is found out, what is asked, what is written."""
