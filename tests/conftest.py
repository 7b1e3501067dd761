"""What all tests share."""

from __future__ import annotations

import signal

pytest_plugins = [
    "tests.fixtures.litestream",
    "tests.fixtures.seaweed",
    "tests.fixtures.server",
    "tests.fixtures.house",
]

# What tests send to the processes that they start must reach them, also where the suite itself was started with these
# ignored (in the background, by nohup): ignoring is inherited, a handler is not. This one goes on ignoring them here.
for _number in (signal.SIGINT, signal.SIGHUP, signal.SIGQUIT):
    if signal.getsignal(_number) is signal.SIG_IGN:
        signal.signal(_number, lambda *_: None)
