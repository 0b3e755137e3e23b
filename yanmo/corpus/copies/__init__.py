"""Texts and passages that stand in several places."""
