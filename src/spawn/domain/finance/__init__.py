"""The finance engine: pure functions over dated cash flows."""
