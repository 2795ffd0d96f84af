"""Python's greenlets as a peer of the benches: see peers/greenlets.rs for what it is asked."""

import platform
import sys
import time

import greenlet


def hand_over(values):
    """Values from one greenlet to another: a switch there and one back for each."""
    start = time.process_time_ns()

    def receive(value):
        back = receiver.parent.switch
        while True:
            value = back()

    receiver = greenlet.greenlet(receive)
    send = receiver.switch
    for value in range(values):
        send(value)
    took = time.process_time_ns() - start
    receiver.throw()
    return took


OPERATIONS = {"switch_and_back": hand_over}

print(f"greenlet {greenlet.__version__} on Python {platform.python_version()}", flush=True)
for line in sys.stdin:
    what, count = line.split()
    print(OPERATIONS[what](int(count)), flush=True)
