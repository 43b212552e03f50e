"""The registry in a browser: pages over the verbs of `Registry`, and their JSON twins."""
