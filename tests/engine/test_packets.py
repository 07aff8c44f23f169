from __future__ import annotations

import socket
import threading
from collections.abc import Iterator

import pytest

from opsflow.engine.packets import Bell, Packets, ReadAhead


@pytest.fixture
def pair() -> Iterator[tuple[ReadAhead, socket.socket]]:
    ours, theirs = socket.socketpair()
    with ReadAhead.of(ours) as reading, theirs:
        yield reading, theirs


def test_what_has_arrived_is_given_out_in_pieces(pair: tuple[ReadAhead, socket.socket]) -> None:
    reading, theirs = pair
    theirs.sendall(b"abcdef")
    assert [reading.recv(1), reading.recv(3), reading.recv(9)] == [b"a", b"bcd", b"ef"]
    theirs.sendall(b"gh")
    assert reading.recv(9) == b"gh"


def test_the_end_follows_what_was_read_ahead(pair: tuple[ReadAhead, socket.socket]) -> None:
    reading, theirs = pair
    theirs.sendall(b"abc")
    theirs.close()
    assert [reading.recv(2), reading.recv(2), reading.recv(2)] == [b"ab", b"c", b""]


def test_a_taken_over_socket_keeps_its_time_limit() -> None:
    ours, theirs = socket.socketpair()
    ours.settimeout(0.01)
    with ReadAhead.of(ours) as reading, theirs, pytest.raises(TimeoutError):
        reading.recv(1)
    assert ours.fileno() == -1


def test_a_handshake_takes_too_long_until_it_is_complete() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        packets = Packets(ours)
        assert not packets.handshake_timed_out()
        threads = threading.active_count()
        packets.start_handshake(60)
        assert not packets.handshake_timed_out()
        packets.start_handshake(-1)
        assert packets.handshake_timed_out()
        packets.complete_handshake()
        assert not packets.handshake_timed_out()
        assert threading.active_count() == threads


def test_a_bell_that_rang_before_the_wait_is_heard_once() -> None:
    bell = Bell()
    bell.set()
    bell.set()
    assert bell.is_set()
    assert bell.wait(60)
    assert not bell.wait(0)


def test_a_silenced_bell_is_not_heard() -> None:
    bell = Bell()
    bell.clear()
    bell.set()
    bell.clear()
    assert not bell.is_set()
    assert not bell.wait(0.01)


def test_a_bell_wakes_who_waits() -> None:
    bell = Bell()
    ringer = threading.Timer(0.05, bell.set)
    ringer.start()
    assert bell.wait(60)
    ringer.join()
