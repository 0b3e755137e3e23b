"""The parts of the report: each a function from the run's record to a piece of HTML, or None where it has nothing to say."""
