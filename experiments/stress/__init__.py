"""Stress: many small random runs, each followed by the history checker.

:mod:`.drawing` reads a file and draws a configuration for each seed, :mod:`.recording` runs one and notes what happened,
:mod:`.trial` checks it, :mod:`.shrinking` makes a failing one smaller, :mod:`.crew` takes many seeds at a time.
"""
