"""What a text is made of: words, n-grams, marks; what it looks like when it is broken."""
