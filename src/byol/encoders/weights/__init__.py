"""Files of weights that others wrote: how each is read, recognized, and put into an encoder of ours."""
