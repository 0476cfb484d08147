"""The thread that speaks to a GPU for one engine.

pycuda wants whatever is made in a context to be used and given back by the thread that made it,
and ends the process where a thread ends with a context still current. So one thread retains the
device's primary context, makes it current, and does all that needs it; others hand it work.
"""

import queue
import threading
import time
import traceback
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, TypeVar

from streamfilter.errors import EngineUnavailable

# How often it looks for new work and for what is done, where either may come first.
_LOOK_S = 1e-4

# A GPU that hangs is left behind after this; the thread goes with the process.
_END_S = 10.0

Result = TypeVar("Result")
Work = Callable[[], Any]


class GpuThread:
    """Runs work in the primary context of a device, in the order in which it is handed over.

    Thread rule: every method may be called from any thread but this one, but for ``stop``.

    Parameters
    ----------
    cuda
        ``pycuda.driver``, initialised.
    device
        Its number.
    flights
        At most so many batches are on the GPU at a time.

    Raises
    ------
    EngineUnavailable
        The context cannot be had.
    """

    def __init__(self, cuda: Any, device: int, flights: int) -> None:
        self._cuda = cuda
        self._flights = flights
        self._jobs: queue.SimpleQueue[tuple[Work, Future[Any], bool] | None] = queue.SimpleQueue()
        self._flying: deque[tuple[Any, Future[None]]] = deque()
        self._broken = ""
        self._failure: Exception | None = None
        self._last: Callable[[], None] = lambda: None
        self._ended = threading.Event()
        current: Future[None] = Future()
        self._thread = threading.Thread(
            target=self._serve, args=(device, current), name=f"gpu-{device}", daemon=True
        )
        self._thread.start()
        current.result()

    def call(self, work: Callable[[], Result]) -> Result:
        """What work returns, or raises; a full memory (pycuda's ``MemoryError``) too.

        Raises
        ------
        EngineUnavailable
            The GPU failed, now or before; the thread does no more work.
        """
        result: Result = self._hand_over(work, flies=False).result()
        return result

    def fly(self, start: Work) -> None:
        """Have work queued that returns the event which it is done at, and wait for that event.

        Raises
        ------
        EngineUnavailable
            The GPU failed, now or before; the thread does no more work.
        """
        self._hand_over(start, flies=True).result()

    def stop(self, last: Callable[[], None]) -> None:
        """Do the last work, which gives back all that was taken, and end.

        Nothing is to be handed over after. Where the GPU has failed the last work may fail too:
        then all is left as it is, and goes with the process.
        """
        self._last = last
        self._jobs.put(None)
        # The collector of garbage may call from any thread, this one too.
        if threading.current_thread() is not self._thread:
            self._ended.wait(_END_S)
            if self._failure is not None and not self._broken:
                raise self._failure

    def _hand_over(self, work: Work, *, flies: bool) -> "Future[Any]":
        done: Future[Any] = Future()
        self._jobs.put((work, done, flies))
        return done

    def _serve(self, device: int, current: "Future[None]") -> None:
        """The thread's life: from the context that it takes to the context that it gives back."""
        try:
            context = self._cuda.Device(device).retain_primary_context()
            context.push()
        except self._cuda.Error as error:
            current.set_exception(
                EngineUnavailable(
                    f"GPU {device} gives no context ({error}): `nvidia-smi` shows who else uses it"
                )
            )
            return
        current.set_result(None)
        try:
            self._work()
        finally:
            self._leave(context)

    def _work(self) -> None:
        """Turns, until there is to be no more."""
        while self._turn():
            self._land()
        while self._flying:  # a process may end with a batch on the GPU
            self._look(wait=True)

    def _turn(self) -> bool:
        """The next job, if there is one; its end lets go of all that it held."""
        try:
            # With a time-out it may wait for ever: where CPython finds the time gone after it has
            # the queue's lock, what is left is below 0, and that is no limit.
            job = self._jobs.get(block=not self._flying)
        except queue.Empty:
            if len(self._flying) < self._flights:  # else none can come before one lands
                time.sleep(_LOOK_S)
            return True
        if job is None:
            return False
        self._do(*job)
        return True

    def _do(self, work: Work, done: "Future[Any]", flies: bool) -> None:
        """One job; what it raises goes to who handed it over."""
        if self._broken:
            done.set_exception(EngineUnavailable(self._broken))
            return
        try:
            result = work()
        except Exception as error:
            _forget_locals(error)
            done.set_exception(self._failed(error, flies=flies))
            return
        if flies:
            self._flying.append((result, done))
        else:
            done.set_result(result)

    def _land(self) -> None:
        """Answer for every batch that is done; wait for the oldest where nothing else can come."""
        if len(self._flying) >= self._flights:
            self._look(wait=True)
        while self._flying and self._look(wait=False):
            pass

    def _look(self, *, wait: bool) -> bool:
        """Whether the oldest batch is done; who handed it over is then told."""
        event, done = self._flying[0]
        try:
            if wait:
                event.synchronize()
            elif not event.query():
                return False
        except self._cuda.Error as error:
            failure = self._break(error)
            while self._flying:
                self._flying.popleft()[1].set_exception(failure)
            return False
        self._flying.popleft()
        done.set_result(None)
        return True

    def _failed(self, error: Exception, *, flies: bool) -> Exception:
        """What a job's failure is answered with; a full memory is no failure, but in flight."""
        full = isinstance(error, self._cuda.MemoryError)
        if isinstance(error, self._cuda.Error) and (flies or not full):
            return self._break(error)
        if flies:  # half of a batch may be queued: no more can be said of its slot
            self._break(error)
        return error

    def _break(self, error: Exception) -> EngineUnavailable:
        """From now on nothing works: an error of CUDA's stays with the context."""
        self._broken = (
            f"the GPU failed ({error}), and does nothing more for this process: start it again; "
            "`dmesg` and `nvidia-smi` may say more"
        )
        return EngineUnavailable(self._broken)

    def _leave(self, context: Any) -> None:
        """Give everything back, the context last."""
        try:
            self._last()
            context.pop()
            context.detach()
        except Exception as error:
            # A context with a failure cannot be popped, and pycuda would abort the process if this
            # thread ended with it, and leak with warnings what others drop: all stays here.
            self._failure = error
            self._ended.set()
            threading.Event().wait()
        self._ended.set()


def _forget_locals(error: BaseException) -> None:
    """Let go of what an error's frames hold: this thread must be the one to give it back."""
    for each in (error, error.__cause__, error.__context__):
        if each is not None:
            traceback.clear_frames(each.__traceback__)
