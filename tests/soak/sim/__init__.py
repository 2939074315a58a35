"""A world in memory with one seed: partitions, publishers, workers that die, and the real engine and steps in them."""
