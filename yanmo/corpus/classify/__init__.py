"""Texts told apart by linear models of their words and letters."""
