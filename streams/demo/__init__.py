"""A season of three clinics: the story, the world around the planner, and the view of it.

The planner itself uses nothing of this.
"""
