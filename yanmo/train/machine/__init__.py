"""What the machine gives: number formats, how fast it multiplies, and memory, with what is done when there is no more of it."""
