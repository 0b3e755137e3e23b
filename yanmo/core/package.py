"""What the package is: its version, and the folder that it was installed to."""

from pathlib import Path

VERSION = "0.1.0"
HOME = Path(__file__).parent.parent
