"""The log on Kafka brokers."""
