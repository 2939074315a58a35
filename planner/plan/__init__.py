"""The plan step's parts: reading requirements fast, and planning one site."""
