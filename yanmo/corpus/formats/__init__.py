"""Files as the bytes, lines, records and members that they are made of."""
