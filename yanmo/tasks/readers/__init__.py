"""Formats of labelled files, one file each."""
