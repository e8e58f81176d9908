"""Run `bnguard` as `python -m bnguard`."""

from bnguard.cli import main

if __name__ == "__main__":
    main()
