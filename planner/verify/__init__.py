"""Is what the worker keeps and publishes what its log says? The comparison, and the fold done again."""
