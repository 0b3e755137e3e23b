"""Errors, settings, the registry, recipes and runs: what everything else stands on."""
