"""`python -m poseling.cli`, which torchrun and accelerate start."""

from poseling.cli import main

main()
