"""The world as it is: engines, networks and clocks behind the ports."""
