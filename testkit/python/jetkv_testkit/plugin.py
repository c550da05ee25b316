"""The fixtures of pytest."""

import pytest

from . import JetKV


@pytest.fixture
def jetkv():
    """A server for this test."""
    with JetKV() as server:
        yield server


@pytest.fixture(scope="session")
def _jetkv_of_session():
    with JetKV() as server:
        yield server


@pytest.fixture
def jetkv_session(_jetkv_of_session):
    """The server of all tests that ask for it, empty at the beginning of each."""
    _jetkv_of_session.request_now("state", "reset")
    return _jetkv_of_session
