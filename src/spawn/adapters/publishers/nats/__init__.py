"""Publisher of events to NATS JetStream."""
