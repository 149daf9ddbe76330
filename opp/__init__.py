"""The machine: OPP programs (tables, stages, keys, conditions, EFSM entries, actions, writes), their
validation and lowering to arrays, the one packet step that the NIC model, the software switch and the live
processes all run, and a slow plain-Python reference to hold it against. Imports nothing of ours.
"""

if __name__ != "oppcache.opp":
    raise ImportError(f"import oppcache.opp, not {__name__}: a second copy would not share its classes")
