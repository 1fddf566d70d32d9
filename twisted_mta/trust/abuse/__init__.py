"""Who abuses mail: what others say of a client, whether it comes back, what people call junk."""
