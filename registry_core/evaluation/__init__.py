"""Per-example results, paired tests, summary statistics, comparisons, figures."""
