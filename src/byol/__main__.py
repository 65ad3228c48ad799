"""`python -m byol`, and `torchrun ... -m byol`."""

from byol.cli import main

main()
