"""``python -m mien``, for launchers such as torchrun."""

from mien.cli import main

if __name__ == "__main__":
    main()
