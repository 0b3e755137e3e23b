"""What a training is examined for before its first step, a small file for each concern; `doctor` holds the table."""
