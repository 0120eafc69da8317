"""The `kbit` command: one file for each noun, thin, importing heavy rooms only when called."""

from kbit.cli.app import main

__all__ = ["main"]
