"""Parts of `rivals.py` and `scaling.py`."""
