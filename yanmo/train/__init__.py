"""The loop, optimizers, schedules, batches, checkpoints, precision, plans."""
