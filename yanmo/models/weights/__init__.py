"""The files that hold a model's numbers: safetensors, checked before they are opened, whole or in shards."""
