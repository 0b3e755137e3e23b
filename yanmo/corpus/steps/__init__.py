"""What is done to documents on their way."""
