"""Parts of benchmarks/quality.py: labelled scenes, baselines, and the choice of constants."""
