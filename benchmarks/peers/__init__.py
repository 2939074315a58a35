"""The planner beside its peers: the same two-step jobs, on the same Kafka, with the same input. See README.md there."""
