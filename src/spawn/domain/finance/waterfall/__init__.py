"""The cash-flow waterfall: claims on the cash of each period, paid in order."""
