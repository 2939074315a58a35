"""The explanation of a decision: every figure behind it, and where it comes from."""
