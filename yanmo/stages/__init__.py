"""One file a stage: what a recipe can list."""
