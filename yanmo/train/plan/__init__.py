"""What is settled before the first step: sizes, length and rate, by rule or by measuring; what memory and time it will take."""
