"""The verbs of the command line, one file each.

``verbs/NAME.py`` has a function of the same name, which becomes ``oppcache NAME``: its parameters are the options
(Typer's annotations), its docstring the help. ``RANK`` places it in the list of verbs, ``EXAMPLE`` is a command
line that its help ends with. A verb imports what it needs when it is called, so that ``--help`` is quick; it
returns, raises :class:`~oppcache.opp.errors.OppCacheError`, or raises ``typer.Exit`` with a status of
:mod:`.common`. What a file cannot say to Typer by these means, it has no need of yet.
"""

from __future__ import annotations

import importlib
import pkgutil

import typer


def add_verbs(app: typer.Typer) -> None:
    """Add every verb of this folder to an application, in the order of their ranks."""
    names = [module.name for module in pkgutil.iter_modules(__path__) if module.name != "common"]
    modules = [(name, importlib.import_module(f"{__name__}.{name}")) for name in names]
    for name, module in sorted(modules, key=lambda item: (item[1].RANK, item[0])):
        app.command(name, epilog=f"Example: {module.EXAMPLE}")(getattr(module, name))


__all__ = ["add_verbs"]
