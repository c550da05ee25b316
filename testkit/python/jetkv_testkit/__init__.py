"""A JetKV for tests: a server of one's own, whose clock a test moves."""

import asyncio
import json
import os
import shutil
import signal
import subprocess
import tempfile
import time
import urllib.error
import urllib.request
from datetime import timedelta
from pathlib import Path

__all__ = ["JetKV", "LabError"]

START_SECONDS = 60
REQUEST_SECONDS = 120


class LabError(Exception):
    """What the lab refused; `code` is as HTTP has them."""

    def __init__(self, code, description):
        super().__init__(description)
        self.code = code


def _binary():
    named = os.environ.get("JETKV_BIN")
    beside = Path(__file__).with_name("jetkv")
    found = named or (str(beside) if beside.exists() else shutil.which("jetkv"))
    if not found:
        raise FileNotFoundError("no jetkv: set JETKV_BIN, or put it on PATH")
    return found


def _nanoseconds(length, parts):
    if isinstance(length, str):
        return length
    if length is None:
        length = timedelta(**parts)
    elif parts:
        raise TypeError("a length of time is said once")
    elif not isinstance(length, timedelta):
        length = timedelta(seconds=length)
    return (length.days * 86_400 + length.seconds) * 1_000_000_000 + length.microseconds * 1_000


class JetKV:
    """A server with JetStream on free ports of this machine, which is gone, with what it stored, after `stop`."""

    def __init__(self):
        self._dir = tempfile.TemporaryDirectory(prefix="jetkv-")
        store, ports = Path(self._dir.name, "store"), Path(self._dir.name, "ports")
        ports.mkdir()
        self._log = open(Path(self._dir.name, "log"), "wb")
        arguments = ["-js", "-a", "127.0.0.1", "-p", "-1", "-m", "-1", "-sd", store, "--ports_file_dir", ports]
        environment = {**os.environ, "JETKV_LAB": "1"}
        self._process = subprocess.Popen(
            [_binary(), *map(str, arguments)], env=environment, stdin=subprocess.DEVNULL,
            stdout=self._log, stderr=subprocess.STDOUT)
        try:
            listening = self._wait_for_ports(ports)
        except BaseException:
            self.stop()
            raise
        self.url = listening["nats"][0]
        self._lab = listening["monitoring"][0] + "/lab/v1/"

    def _wait_for_ports(self, folder):
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline:
            for file in folder.glob("*.ports"):
                try:
                    return json.loads(file.read_text())
                except ValueError:
                    pass
            if self._process.poll() is not None:
                break
            time.sleep(0.005)
        log = Path(self._dir.name, "log").read_text(errors="replace")
        raise RuntimeError(f"jetkv does not start:\n{log}")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stop()

    def stop(self):
        """Ends the server, and removes all that it stored."""
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)
            try:
                self._process.wait(START_SECONDS)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
        self._log.close()
        self._dir.cleanup()

    def request_now(self, group, verb, **body):
        """Any request to the lab; gives the answer. Blocks."""
        request = urllib.request.Request(
            f"{self._lab}{group}/{verb}", json.dumps(body).encode(), {"Content-Type": "application/json"})
        try:
            with urllib.request.urlopen(request, timeout=REQUEST_SECONDS) as answer:
                return json.load(answer)
        except urllib.error.HTTPError as error:
            told = json.load(error).get("error", {})
            raise LabError(error.code, told.get("description", error.reason)) from None

    async def request(self, group, verb, **body):
        """Any request to the lab; gives the answer."""
        return await asyncio.to_thread(self.request_now, group, verb, **body)

    async def advance(self, by=None, **parts):
        """Lets time pass: a `timedelta`, seconds, text such as "1h30m", or `hours=1, seconds=1`."""
        return await self.request("time", "advance", by=_nanoseconds(by, parts))

    async def reset(self):
        """Takes away all that is stored, the faults and the journal; the clock runs with the system's again."""
        return await self.request("state", "reset")

    async def fault(self, kind, where=None, **fields):
        """Adds a rule of faults; gives its number."""
        return (await self.request("fault", "add", kind=kind, where=where or {}, **fields))["id"]

    async def clear_faults(self):
        """Takes the rules of faults away."""
        await self.request("fault", "clear")
