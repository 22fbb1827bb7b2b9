"""`python -m flows.cli.app`."""

from flows.cli.app import main

if __name__ == "__main__":
    main()
