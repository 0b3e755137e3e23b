"""Optimizers: `base` is what every one has, `groups` says which parameter is what, and each of the others is one file."""
