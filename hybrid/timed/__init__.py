"""The engine in virtual time: both sides as machines that take time, with rings and a control channel between them.

One kernel takes the next of a few kinds of events until the packets are used up: a packet enters the NIC's pipeline, an
item arrives over a ring or the control channel, a core has finished, a timer runs out. Every kind is a queue in order
of time, so the next event is the earliest of a handful of heads. :mod:`.run` drives it; the other modules are the parts.
"""
