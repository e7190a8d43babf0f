"""ISO code lists."""
