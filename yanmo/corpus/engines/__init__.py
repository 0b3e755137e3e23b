"""Where the corpus steps run."""
