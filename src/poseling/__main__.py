"""`python -m poseling`, as torchrun and accelerate start it."""

from poseling.cli import main

main()
