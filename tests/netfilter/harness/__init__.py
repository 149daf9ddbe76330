"""The real Linux netfilter as an oracle: namespaces, packets one by one, and what came out as records.

``ask(case)`` builds a router in a network namespace of its own, loads the case's ruleset with
``iptables-legacy-restore``, sends the packets over veth pairs from a second namespace, and returns one record a
packet, in the format that ``oppcache replay`` writes. All traffic stays between the two namespaces.
"""
