"""Events to an HTTP endpoint: signed, guarded, bounded."""
