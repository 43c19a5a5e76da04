"""Event loops that end their tasks before they close, for Orbax.

If an array cannot be read, Orbax closes its loop while others are being read. TensorStore then prints tracebacks from its
threads, and memory stays in use.
"""

import asyncio
import contextlib
from collections.abc import Iterator


@contextlib.contextmanager
def waiting_for_tasks() -> Iterator[None]:
    """Lets `asyncio` make such loops, in all threads, until it exits."""
    previous = asyncio.get_event_loop_policy()
    asyncio.set_event_loop_policy(_Policy())
    try:
        yield
    finally:
        asyncio.set_event_loop_policy(previous)


class _Loop(asyncio.SelectorEventLoop):
    def close(self) -> None:
        while not self.is_closed() and (tasks := asyncio.all_tasks(self)):
            self.run_until_complete(asyncio.gather(*tasks, return_exceptions=True))
        super().close()


class _Policy(asyncio.DefaultEventLoopPolicy):
    def new_event_loop(self) -> asyncio.AbstractEventLoop:
        return _Loop()
