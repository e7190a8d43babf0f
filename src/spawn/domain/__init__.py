"""The pure core: project finance without I/O, clock or framework."""
