"""Figures of a training: where they go, and what they say beside those of other trainings.

metrics.jsonl (`metrics`) is the one truth; `tensorboard`, `wandb` and `mlflow` are made from it, one file for each kind of
record, by what `record` says that each of them is."""
