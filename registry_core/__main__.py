"""`python -m registry_core` is `mlreg`."""

from registry_core.cli import main

if __name__ == "__main__":
    main()
