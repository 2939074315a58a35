"""Delivery in chunks through Faust's own consumer, conductor, tables and rebalancing. See ``ARCHITECTURE.md``."""
