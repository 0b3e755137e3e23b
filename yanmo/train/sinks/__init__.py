"""Where a training's figures go beside metrics.jsonl: one file for each kind of record."""
