"""A report of a finished run: one HTML file that needs no network."""
