"""`python -m byol`, and `torchrun ... -m byol`."""

from byol.cli.main import main

main()
