"""What is looked at before anybody relies on the server."""
