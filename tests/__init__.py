"""Tests, and the long runs of ``tests.soak``."""

import signal

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    # a shell starts what it runs in the background so, and so would be every process that is interrupted here
    signal.signal(signal.SIGINT, signal.default_int_handler)
