"""Tokenizers, chat templates, languages and metrics on text."""
