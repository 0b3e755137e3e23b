"""Models on tasks, with intervals and floors; the report and the card."""
