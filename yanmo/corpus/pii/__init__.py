"""Personal data in text: where it stands, of which kind, and what may stand in its place."""
