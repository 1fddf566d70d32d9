"""Delivery status notifications (RFC 3464): who is told what of a message's way, and the report itself."""
