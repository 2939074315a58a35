"""A simulated world around the planner: clinics, their books, shelves and suppliers, and policies that order."""
