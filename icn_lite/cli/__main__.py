"""`python -m icn_lite.cli` is `icn-lite`."""

from icn_lite.cli.main import main

if __name__ == "__main__":
    main()
