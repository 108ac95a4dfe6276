"""Runs that are computed in parts, by processes that share nothing but a run folder."""
