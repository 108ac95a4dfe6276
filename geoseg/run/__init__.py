"""Driving a run: its folder, its products, its workers, its report."""
