"""How a run goes, from a specification to a registered version. Start with `run`."""
