"""`python -m fedma`: the command line."""

from fedma.cli import main

if __name__ == "__main__":
    main()
