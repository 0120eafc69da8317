"""`python -m kbit` is the command `kbit`."""

from kbit.cli import main

if __name__ == "__main__":
    main()
