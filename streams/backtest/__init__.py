"""Back-tests: what is read, what is written, and what needs packages that the planner itself does without."""
