"""The embedded log by itself."""
