"""``planner verify``: reads the log beside whoever is working on it, folds it again, and compares."""
