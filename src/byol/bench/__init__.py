"""How fast this machine trains, beside how fast it could: the limit, the ceilings, the measurement, the advice."""
