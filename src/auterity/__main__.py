"""``python -m auterity`` is the command ``auterity``."""

from auterity.app.cli import main

if __name__ == "__main__":
    main()
