"""A simulated world around the planner: clinics with bookings, shelves and suppliers, and policies that order for them."""
