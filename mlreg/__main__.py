"""`python -m mlreg` is the command `mlreg`."""

from registry_core.cli import main

if __name__ == "__main__":
    main()
