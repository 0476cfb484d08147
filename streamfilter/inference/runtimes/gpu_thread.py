"""The thread that uses a GPU for one engine.

pycuda requires that the thread which makes an object in a context also uses and releases it, and it
ends the process where a thread ends with a current context. So one thread retains the device's
primary context, makes it current, and does all work that needs it; other threads hand it jobs.
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

# Interval of checks for new jobs and finished batches, where either may come first.
_POLL_S = 1e-4

# Longest wait for a GPU that hangs; its thread then ends with the process.
_END_S = 10.0

Result = TypeVar("Result")
Work = Callable[[], Any]


class GpuThread:
    """Runs jobs in the primary context of a device, in the order of the calls.

    Thread rule: every other thread may call every method; this thread itself only ``stop``.

    Parameters
    ----------
    cuda
        ``pycuda.driver``, initialised.
    device
        Number of the device.
    most_in_flight
        Most batches on the GPU at a time.

    Raises
    ------
    EngineUnavailable
        The device gives no context.
    """

    def __init__(self, cuda: Any, device: int, most_in_flight: int) -> None:
        self._cuda = cuda
        self._most_in_flight = most_in_flight
        self._jobs: queue.SimpleQueue[tuple[Work, Future[Any], bool] | None] = queue.SimpleQueue()
        self._in_flight: deque[tuple[Any, Future[None]]] = deque()
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
        """Returns the result of a job, or raises its exception, also pycuda's ``MemoryError``.

        Raises
        ------
        EngineUnavailable
            The GPU failed, now or before; the thread does no more work.
        """
        result: Result = self._submit(work, is_batch=False).result()
        return result

    def run_batch(self, start: Work) -> None:
        """Start a batch, and wait for its end; ``start`` queues it and returns its CUDA event.

        Raises
        ------
        EngineUnavailable
            The GPU failed, now or before; the thread does no more work.
        """
        self._submit(start, is_batch=True).result()

    def stop(self, last: Callable[[], None]) -> None:
        """Do the last job, which releases everything, and end the thread.

        No job may follow. Where the GPU has failed, the last job may fail too: then nothing is
        released before the process ends.
        """
        self._last = last
        self._jobs.put(None)
        # The garbage collector may call from any thread, also from this one.
        if threading.current_thread() is not self._thread:
            self._ended.wait(_END_S)
            if self._failure is not None and not self._broken:
                raise self._failure

    def _submit(self, work: Work, *, is_batch: bool) -> "Future[Any]":
        done: Future[Any] = Future()
        self._jobs.put((work, done, is_batch))
        return done

    def _serve(self, device: int, current: "Future[None]") -> None:
        """Run the thread: take the context, do the jobs, release the context."""
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
        """Do jobs until the thread is stopped, then wait for the last batches."""
        while self._next_job():
            self._finish_batches()
        while self._in_flight:  # a process may end with a batch on the GPU
            self._check_oldest(wait=True)

    def _next_job(self) -> bool:
        """Do the next job, if there is one; returns False where the thread is to end."""
        try:
            # No time-out here: where CPython's time-out passes while it waits for the queue's
            # lock, the remaining time is negative, and it then waits for ever.
            job = self._jobs.get(block=not self._in_flight)
        except queue.Empty:
            if len(self._in_flight) < self._most_in_flight:  # else a batch must end first
                time.sleep(_POLL_S)
            return True
        if job is None:
            return False
        self._do(*job)
        return True

    def _do(self, work: Work, done: "Future[Any]", is_batch: bool) -> None:
        """Do one job; its exception goes to the thread that submitted it."""
        if self._broken:
            done.set_exception(EngineUnavailable(self._broken))
            return
        try:
            result = work()
        except Exception as error:
            _forget_locals(error)
            done.set_exception(self._failed(error, is_batch=is_batch))
            return
        if is_batch:
            self._in_flight.append((result, done))
        else:
            done.set_result(result)

    def _finish_batches(self) -> None:
        """Finish every batch that is done; waits for the oldest where no other may start."""
        if len(self._in_flight) >= self._most_in_flight:
            self._check_oldest(wait=True)
        while self._in_flight and self._check_oldest(wait=False):
            pass

    def _check_oldest(self, *, wait: bool) -> bool:
        """Returns whether the oldest batch is done, and then answers its thread."""
        event, done = self._in_flight[0]
        try:
            if wait:
                event.synchronize()
            elif not event.query():
                return False
        except self._cuda.Error as error:
            failure = self._break(error)
            while self._in_flight:
                self._in_flight.popleft()[1].set_exception(failure)
            return False
        self._in_flight.popleft()
        done.set_result(None)
        return True

    def _failed(self, error: Exception, *, is_batch: bool) -> Exception:
        """Returns the exception for a failed job; a full memory breaks the GPU only in a batch."""
        full = isinstance(error, self._cuda.MemoryError)
        if isinstance(error, self._cuda.Error) and (is_batch or not full):
            return self._break(error)
        if is_batch:  # part of a batch may be queued: the state of its slot is unknown
            self._break(error)
        return error

    def _break(self, error: Exception) -> EngineUnavailable:
        """Refuse all further jobs: a CUDA error stays with the context. Returns the exception."""
        self._broken = (
            f"the GPU failed ({error}), and does nothing more for this process: start it again; "
            "`dmesg` and `nvidia-smi` may say more"
        )
        return EngineUnavailable(self._broken)

    def _leave(self, context: Any) -> None:
        """Release everything, the context last."""
        try:
            self._last()
            context.pop()
            context.detach()
        except Exception as error:
            # A failed context cannot be popped. If this thread ended, pycuda would abort the
            # process; if other threads dropped its objects, pycuda would warn. So all stays here.
            self._failure = error
            self._ended.set()
            threading.Event().wait()
        self._ended.set()


def _forget_locals(error: BaseException) -> None:
    """Drop the objects in an error's frames: this thread must be the one that releases them."""
    for each in (error, error.__cause__, error.__context__):
        if each is not None:
            traceback.clear_frames(each.__traceback__)
