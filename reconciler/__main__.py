"""The program: `reconciler VERB`, or `python -m reconciler VERB`."""

from reconciler.cli.main import main

if __name__ == "__main__":
    main()
