"""Metrics on text and labels."""
