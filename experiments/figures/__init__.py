"""Figure kinds, one file each: ``kind: line`` in an experiment is ``line.py`` here.

A kind has ``SOURCE``, ``"results"`` (rows of ``results.csv``), ``"metrics"`` (the same, where x is a metric too) or
``"series"`` (values over virtual time), and ``draw(axes, data)``, which draws a
:class:`~oppcache.experiments.figure_data.FigureData` on Matplotlib axes.
Axis labels, scales, title, legend and files are the same for all kinds: :mod:`oppcache.experiments.plots`.
"""
