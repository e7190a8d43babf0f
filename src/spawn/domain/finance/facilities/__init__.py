"""Facilities: the terms, the rates and the repayment of several loans beside each other."""
