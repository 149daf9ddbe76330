"""What is worth a NIC slot: eviction and admission policies, built in or a user's own file."""

if __name__ != "oppcache.cache":
    raise ImportError(f"import oppcache.cache, not {__name__}: a second copy would not share its classes")
