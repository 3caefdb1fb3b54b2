"""The lone runner: commands that share no batch, each in a task of its own, beside the batches."""

from __future__ import annotations

import asyncio
from collections import Counter, deque
from collections.abc import Callable, Coroutine, Iterator, Sequence
from typing import Any, Final

import structlog

from ..relay.relay import Failure
from .failures import CANCELLED, CANCELLED_RUNNING, DEFECT, STOPPED
from .runtime import Runtime
from .work import Work

__all__ = ["LoneRunner"]

log = structlog.get_logger(__name__)


class LoneRunner:
    """Runs commands that wait for the outside world, or are slow, so that only their own lanes wait for them.

    At most `limits.alone` run at once, and `limits.alone_per_user` of one user; users have their turns one after
    another. A lane is busy from `start` to the command's end.

    Args:
        runtime: what the worker's requests share.
        run: runs a command and answers it. Cancelling it rolls back.
        refuse: answers a command that did not happen.
        freed: takes what waited for a lane, in its order, once that lane is free.
    """

    def __init__(
        self,
        runtime: Runtime,
        run: Callable[[Work], Coroutine[Any, Any, None]],
        refuse: Callable[[Work, Failure], None],
        freed: Callable[[Sequence[Work]], None],
    ) -> None:
        self.lanes: Final[dict[str, deque[Work]]] = {}
        """The busy lanes, and the commands that wait for each."""
        self._runtime = runtime
        self._run = run
        self._refuse = refuse
        self._freed = freed
        self._waiting: dict[str, deque[Work]] = {}
        self._running: Counter[str] = Counter()
        self._tasks: dict[asyncio.Task[None], Work] = {}
        self._stopping = False

    def start(self, work: Work) -> None:
        """Run a command as soon as there is room; its lane is busy from now on, and must not be so already."""
        self.lanes[work.lane] = deque()
        self._enqueue(work)

    def waiting(self) -> Iterator[Work]:
        """Every command that was not begun."""
        for works in (*self._waiting.values(), *self.lanes.values()):
            yield from works

    def give_up(self, work: Work) -> bool:
        """Forget a command that was started and not begun, so that its lane is free; False if it was begun."""
        user = work.request.principal.id
        works = self._waiting.get(user)
        if works is None or work not in works:
            return False
        works.remove(work)
        if not works:
            del self._waiting[user]
        self._free(work)
        return True

    async def stop(self) -> None:
        """Refuse what was not begun; give what runs `limits.stop` seconds to end."""
        self._stopping = True
        for work in list(self.waiting()):
            self._refuse(work, STOPPED)
        self._waiting.clear()
        self.lanes.clear()
        if self._tasks:
            _, late = await asyncio.wait(self._tasks, timeout=self._runtime.limits.stop)
            for task in late:
                task.cancel()
            if late:
                log.warning("commands that run alone did not end in time", tasks=len(late))
                await asyncio.wait(late)

    def _enqueue(self, work: Work) -> None:
        self._waiting.setdefault(work.request.principal.id, deque()).append(work)
        self._fill()

    def _fill(self) -> None:
        """Begin what there is room for, one command per user in turn."""
        limits = self._runtime.limits
        while len(self._tasks) < limits.alone:
            # No more than `alone / alone_per_user` users are passed over.
            user = next((user for user in self._waiting if self._running[user] < limits.alone_per_user), None)
            if user is None:
                return
            works = self._waiting.pop(user)
            work = works.popleft()
            if works:
                self._waiting[user] = works
            self._running[user] += 1
            task = asyncio.get_running_loop().create_task(self._run(work), name=work.declaration.name)
            work.task = task
            self._tasks[task] = work
            task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        work = self._tasks.pop(task)
        user = work.request.principal.id
        self._running[user] -= 1
        if not self._running[user]:
            del self._running[user]
        work.task = None
        if task.cancelled():
            self._refuse(work, CANCELLED_RUNNING)
        elif task.exception() is not None:
            # Only what is meant for the process gets here, and the loop has raised it there.
            self._refuse(work, DEFECT)
        if not self._stopping:
            self._free(work)
            self._fill()

    def _free(self, work: Work) -> None:
        """After a command: the next one of its lane."""
        works = self.lanes.pop(work.lane)
        while works and works[0].cancelled:
            self._refuse(works.popleft(), CANCELLED)
        if works and works[0].apart:
            # Kept here, so that many of one lane are not put back and taken again for each of them.
            first = works.popleft()
            self.lanes[work.lane] = works
            self._enqueue(first)
        elif works:
            self._freed(works)
