"""New plugin projects and new plugins.toml files, from the templates beside this module."""
