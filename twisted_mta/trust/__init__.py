"""Who really sent this, and may they? Judgements about mail, each with its reason."""
