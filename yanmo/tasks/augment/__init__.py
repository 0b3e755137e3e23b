"""Copies of labelled training texts, a little changed: swapped, dropped, inserted and replaced words, slips of the hand."""
