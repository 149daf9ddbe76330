"""The shell around a translated program: what stands before and behind the stages in a Linux router.

Before the program: what ``ip_rcv`` drops, and reassembly where connection tracking would reassemble. Behind it: the
next hop's address, fragments of the egress interface's MTU, the loopback interface, delivery to a local stack that
never answers, and the answers of REJECT and of the router itself, which enter the program again through OUTPUT.

:class:`Shell` takes packets one at a time and any :class:`Runner`; :func:`replay` takes files, as ``oppcache replay``
does.
"""

from .replay import replay, write_records
from .router import Handled, Left, Shell
from .runner import MachineRunner, Outcome, Runner
from .sidecar import Sent, load_packets

__all__ = [
    "Handled",
    "Left",
    "MachineRunner",
    "Outcome",
    "Runner",
    "Sent",
    "Shell",
    "load_packets",
    "replay",
    "write_records",
]
