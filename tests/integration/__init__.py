"""The planner proved from outside: real workers as processes, on the embedded log and on a real Kafka broker."""
