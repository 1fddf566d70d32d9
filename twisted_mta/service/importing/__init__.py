"""Mail of other servers on its way here."""
