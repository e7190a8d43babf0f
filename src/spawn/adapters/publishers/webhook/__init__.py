"""Webhook publisher."""
