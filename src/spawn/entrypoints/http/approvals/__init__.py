"""HTTP routes of approvals, and the gate through which commands pass."""
