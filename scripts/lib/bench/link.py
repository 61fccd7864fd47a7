"""A link to the SSH server: passes bytes on after a delay, and counts them.

It takes the place of a long line, because few kernels have netem. Each direction is a queue of
(when it is due, bytes): what is read at once arrives at once, half a round trip later, so the
link has a delay but no rate. TCP's own window is not modelled; that of SSH is, because it is the
two ends' own. A process of its own, so that the bench does not hold it up. Knows nothing of SSH.
"""

import multiprocessing
import socket
import threading
import time
from collections import deque

from machine import ADDRESS

READ_BYTES = 1 << 18
# What is on its way in one direction at most: at 100 ms some 5 GB/s, more than any end sends.
IN_FLIGHT_BYTES = 1 << 28


class Link:
    """The link as the bench sees it; programs connect to `.port`."""

    def __init__(self, port, round_trip_seconds):
        self.upstream, self.round_trip = port, round_trip_seconds
        self.count = multiprocessing.Value("q", 0)

    def __enter__(self):
        listener = socket.create_server((ADDRESS, 0), backlog=64)
        self.port = listener.getsockname()[1]
        self.process = multiprocessing.Process(target=self.serve, args=(listener,), daemon=True)
        self.process.start()
        listener.close()
        return self

    def __exit__(self, *_):
        self.process.terminate()
        self.process.join()

    def carried_bytes(self):
        """Returns what was carried so far, both directions together."""
        return self.count.value

    def serve(self, listener):
        while True:
            near, _ = listener.accept()
            threading.Thread(target=self.connect, args=(near,), daemon=True).start()

    def connect(self, near):
        # TCP's handshake takes one round trip before anything is said.
        time.sleep(self.round_trip)
        try:
            far = socket.create_connection((ADDRESS, self.upstream))
        except OSError:
            near.close()
            return
        for end in (near, far):
            end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        directions = [
            Direction(near, far, self.round_trip / 2, self.count),
            Direction(far, near, self.round_trip / 2, self.count),
        ]
        for direction in directions:
            direction.wait()
        near.close()
        far.close()


class Direction:
    """One direction of one connection: a thread that reads, a queue, a thread that writes."""

    def __init__(self, reads, writes, delay, count):
        self.reads, self.writes, self.delay, self.count = reads, writes, delay, count
        self.queue, self.queued_bytes = deque(), 0
        self.changed = threading.Condition()
        works = (self.take, self.give)
        self.threads = [threading.Thread(target=work, daemon=True) for work in works]
        for thread in self.threads:
            thread.start()

    def wait(self):
        for thread in self.threads:
            thread.join()

    def take(self):
        data = b"first"
        while data:
            try:
                data = self.reads.recv(READ_BYTES)
            except OSError:
                data = b""
            due = time.monotonic() + self.delay
            with self.count.get_lock():
                self.count.value += len(data)
            with self.changed:
                self.queue.append((due, data))
                self.queued_bytes += len(data)
                self.changed.notify_all()
                self.changed.wait_for(lambda: self.queued_bytes < IN_FLIGHT_BYTES)

    def give(self):
        is_open = True
        while True:
            with self.changed:
                self.changed.wait_for(lambda: self.queue)
                due, data = self.queue.popleft()
            wait = due - time.monotonic()
            if wait > 0:
                time.sleep(wait)
            if is_open:
                is_open = self.pass_on(data)
            with self.changed:
                self.queued_bytes -= len(data)
                self.changed.notify_all()
            if not data:
                return

    def pass_on(self, data):
        """Writes `data`, where nothing means the end; returns whether more can be written."""
        try:
            if data:
                self.writes.sendall(data)
            else:
                self.writes.shutdown(socket.SHUT_WR)
            return True
        except OSError:
            # The reader is gone; the other end learns it as it would from a reset.
            try:
                self.reads.shutdown(socket.SHUT_RD)
            except OSError:
                pass
            return False
