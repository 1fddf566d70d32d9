"""What accounts think of their mail: learned from what they move, asked at delivery. Refused mail, put by."""
