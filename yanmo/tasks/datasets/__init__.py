"""Labelled data sets that may not be shipped: where each lies, under which licence, and how its files become rows."""
