"""``python -m twinlens``: the command line."""

from twinlens.cli import main

if __name__ == "__main__":
    main()
