"""The cash flow before debt service, built up from volumes, prices and costs."""
