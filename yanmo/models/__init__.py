"""Language models and classifiers, and their directories on disk."""
