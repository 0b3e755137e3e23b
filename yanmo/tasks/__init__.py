"""Example ↔ row ↔ prediction, and how predictions are scored."""
