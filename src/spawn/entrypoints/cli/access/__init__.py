"""Commands about keys, the audit log and approvals."""
