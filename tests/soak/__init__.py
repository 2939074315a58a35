"""Faults in their long form: each module is a command that prints what was injected and what was counted."""
