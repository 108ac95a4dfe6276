"""Runs when Python starts."""

from stand_in import install

install()
