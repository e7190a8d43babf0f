"""Sensitivities of every calculator: a case solved for a target, and tables over its inputs."""
