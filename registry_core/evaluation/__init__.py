"""Evaluation results: per example, paired tests, summary statistics, comparisons, figures."""
