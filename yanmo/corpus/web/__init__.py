"""Pages of HTML: their encoding, their main text, and the process that may be killed for it."""
