"""The engine with continuous batching, sampling, and a loaded model for people."""
