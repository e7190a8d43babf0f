"""Use cases of events: the feed, the relay and dead letters."""
