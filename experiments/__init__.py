"""YAML to figures: schema, sweep, runner, results, plots and the gallery."""

if __name__ != "oppcache.experiments":
    raise ImportError(f"import oppcache.experiments, not {__name__}: a second copy would not share its classes")
