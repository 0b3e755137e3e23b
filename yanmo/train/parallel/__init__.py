"""Several processes, one training: how they find each other, what each has of the model and of the rows, who is slow or gone.

The loop knows of none of it: it speaks to a `World` (`train/world.py`), and `worlds` are those of many."""
