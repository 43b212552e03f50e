"""The plugin contract, which plugins there are, and which plugin raised an error."""
