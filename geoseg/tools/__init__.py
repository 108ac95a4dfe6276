"""Around the pipeline: scenes with known truth, evaluation, reports."""
