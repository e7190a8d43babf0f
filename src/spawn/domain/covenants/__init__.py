"""Cases, covenants, their tests and waivers, and reserve accounts of a project on record."""
