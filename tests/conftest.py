"""Fixtures for every test; each plugin keeps to one subject."""

import signal

pytest_plugins = ["tests.logs"]

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    # a shell starts what it runs in the background so, and so would be every process that is interrupted here
    signal.signal(signal.SIGINT, signal.default_int_handler)
