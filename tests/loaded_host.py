"""The host as most commands need it, for a process whose forks are to start at once."""

from __future__ import annotations

from importlib import import_module

from registry_core.cli.app import app, register_commands

for module in (
    "mlreg",
    "registry_core.evaluation.comparison",
    "registry_core.evaluation.recorded",
    "registry_core.lifecycle.observers",
    "registry_core.lifecycle.run_list",
    "registry_core.plugins.manager",
    "registry_core.promotion.promote",
    "registry_core.registry",
    "registry_core.reports.sources",
    "registry_core.running",
    "registry_core.store.audit",
    "registry_core.store.local.workspaces",
    "registry_core.store.sqlite.index",
    "registry_core.store.sqlite.write",
    "registry_core.terminal.live",
    "registry_core.terminal.output",
    "registry_core.terminal.progress",
    "registry_core.terminal.tables",
    "registry_core.terminal.tables.maintenance",
    "registry_core.terminal.tables.versions",
):
    import_module(module)
register_commands([])
app.click_command()
