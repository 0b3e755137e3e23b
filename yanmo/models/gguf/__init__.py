"""GGUF, the file format of llama.cpp: read strictly, written whole, translated to and from what is published elsewhere."""
