"""Access: API clients with their keys, and approvals."""
