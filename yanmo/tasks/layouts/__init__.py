"""How published classification data lies on the disk: its files, its columns, its split."""
