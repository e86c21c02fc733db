"""``python -m twinlens``: the command line."""

from twinlens.commands.main import main

if __name__ == "__main__":
    main()
