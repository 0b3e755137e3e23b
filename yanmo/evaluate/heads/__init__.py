"""One class a head: what a model is asked for a task of that head, and what its answers amount to (`evaluate/head.py`)."""
