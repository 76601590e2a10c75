"""One file from an address into a folder: resumed, checked, whole or not there.

Knows HTTP, by way of requests. Refuses to know which files a data set is made of.

What has come so far waits in ``<file>.part`` and ``<file>.part.json``, which says of which version of the file it is. A
part is only continued where the server proves that the file is still that version; else it is fetched from its start.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import re
import time
from dataclasses import dataclass
from logging import getLogger
from pathlib import Path
from typing import NoReturn

import requests
from filelock import FileLock
from tqdm import tqdm
from urllib3.exceptions import HTTPError

from recbole_lcrec.runtime.artifacts import replace_text
from recbole_lcrec.runtime.disk_full import disk_full

__all__ = ["DownloadError", "download"]

_CHUNK = 1 << 16
_A_STEP_FORWARD = 1 << 20
_LONGEST_WAIT = 60.0
_TRY_AGAIN = frozenset({408, 425, 429, 500, 502, 503, 504})
_RANGE = re.compile(r"bytes (?:(\d+)-\d+|\*)/(\d+)")
_HOPELESS = (
    requests.exceptions.InvalidURL,
    requests.exceptions.InvalidSchema,
    requests.exceptions.MissingSchema,
    requests.exceptions.TooManyRedirects,
)


class DownloadError(FileNotFoundError):
    """A file could not be fetched; says which, from where, and in which folder to put it by hand."""

    def __str__(self) -> str:
        return self.strerror or super().__str__()  # without a number before it


class _BrokenOffError(Exception):
    """A try that another may mend; may know how long the server wants to be left alone, in seconds."""

    def __init__(self, reason: str, wait: float = 0.0) -> None:
        super().__init__(reason)
        self.wait = wait


class _FinalError(Exception):
    """A try that no other would mend."""


@dataclass(frozen=True)
class _Manner:
    """How a file is fetched; see :func:`download`."""

    proxy: str | None
    retries: int
    timeout: float
    backoff: float
    show_progress: bool


@dataclass(frozen=True)
class _Part:
    """What has come so far."""

    target: Path
    address: str

    @property
    def path(self) -> Path:
        return self.target.with_name(f"{self.target.name}.part")

    @property
    def note(self) -> Path:
        return self.target.with_name(f"{self.target.name}.part.json")

    def size(self) -> int:
        return self.path.stat().st_size if self.path.is_file() else 0

    def version(self) -> str | None:
        """What proves that the server's file is still the same; None where nothing does."""
        try:
            note = json.loads(self.note.read_text(encoding="utf-8"))
            return note["version"] if note["address"] == self.address else None
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def begin(self, version: str | None) -> None:
        self.remove()
        if version is not None:
            replace_text(self.note, json.dumps({"address": self.address, "version": version}))

    def remove(self) -> None:
        self.path.unlink(missing_ok=True)
        self.note.unlink(missing_ok=True)


def download(
    address: str,
    target: Path,
    size: int | None = None,
    digest: str | None = None,
    proxy: str | None = None,
    retries: int = 5,
    timeout: float = 30.0,
    backoff: float = 1.0,
    show_progress: bool = True,
) -> Path:
    """Fetches a file, unless it is there.

    Args:
        address: http or https.
        target: where to put it; its folder is made when absent.
        size: its bytes, where they are known.
        digest: its digest as ``sha256:<digits>`` (or another of hashlib's), where it is known.
        proxy: address of a proxy, over http where it does not say; by default what the environment (``HTTPS_PROXY``,
            ``NO_PROXY``) names.
        retries: tries after the first that bring less than a MiB each; one that brings more counts as a new first.
        timeout: seconds in which a connection must come about, and in which some byte must come.
        backoff: seconds of the shortest wait between tries; it doubles up to a minute.
        show_progress: whether a bar shows the bytes.

    Returns:
        ``target``.

    Raises:
        ValueError: a file is there already that is not of this size or digest, the address is neither http nor https,
            or the folder cannot be written to.
        DownloadError: it could not be fetched, or what came is not of this size or digest.
        DiskFullError: the disk is full. What had come is kept where the next call can go on with it, else removed.
    """
    if not address.startswith(("http://", "https://")):
        raise ValueError(f"address = {address!r} must begin with http:// or https://")
    lock = FileLock(target.with_name(f".{target.name}.lock"))
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        lock.acquire()
    except OSError as err:
        raise ValueError(
            f"{target.parent} cannot be written to ({err}); name another folder for {target.name}"
        ) from err
    try:
        if not target.exists():
            over = f"http://{proxy}" if proxy and "://" not in proxy else proxy
            _fetch_whole(_Part(target, address), size, digest, _Manner(over, retries, timeout, backoff, show_progress))
        elif problem := _unlike(target, size, digest):
            raise ValueError(f"{target} is there, but {problem}; remove it to have it fetched again from {address}")
    finally:
        lock.release()
    return target


def _fetch_whole(part: _Part, size: int | None, digest: str | None, manner: _Manner) -> None:
    try:
        _fetch(part, size, manner)
        if problem := _unlike(part.path, size, digest):
            part.remove()
            raise _FinalError(f"what came was thrown away, for {problem}")
        os.replace(part.path, part.target)
        part.remove()
    except _FinalError as err:
        raise DownloadError(
            errno.ENOENT,
            f"{part.target.name} could not be fetched from {part.address}: {err}. Fetch it by other means and put it "
            f"into {part.target.parent}, or name a mirror or a proxy",
        ) from err
    except OSError as err:
        kept = part.size() if part.version() else 0
        left = f"{kept:,} bytes of {part.target.name} are kept, and the next call goes on from there"
        full = disk_full(err, part.target.parent, left) if kept else disk_full(err, part.target.parent)
        if full is None:
            raise
        if not kept:
            part.remove()
        raise full from err


def _fetch(part: _Part, size: int | None, manner: _Manner) -> None:
    """Tries until the part is the whole file.

    Raises:
        _FinalError: it cannot be had.
        OSError: it cannot be written.
    """
    failures, best = 0, part.size()
    with (
        requests.Session() as session,
        tqdm(total=size, desc=part.target.name, unit="B", unit_scale=True, disable=not manner.show_progress) as bar,
    ):
        while True:
            try:
                return _try(part, size, session, manner, bar)
            except _BrokenOffError as err:
                failures += 1
                if part.size() >= best + _A_STEP_FORWARD:
                    failures, best = 1, part.size()
                if failures > manner.retries:
                    raise _FinalError(f"{err} (given up after {failures} tries in a row)") from err
                wait = min(_LONGEST_WAIT, max(err.wait, manner.backoff * 2.0 ** (failures - 1)))
                getLogger().warning(f"{part.target.name}: {err}; trying again in {wait:.3g} s")
                time.sleep(wait)


def _try(part: _Part, size: int | None, session: requests.Session, manner: _Manner, bar: tqdm[NoReturn]) -> None:
    """One request, from where the part ends or from the start.

    Raises:
        _BrokenOffError: it ended before the file did.
        _FinalError: there is no use in trying again.
    """
    version = part.version()
    if version is None:
        part.remove()  # nothing would prove that the rest is of the same file
    have = part.size()
    headers = {"Accept-Encoding": "identity"}
    if have and version is not None:
        headers |= {"Range": f"bytes={have}-", "If-Range": version}
    proxies = dict.fromkeys(("http", "https"), manner.proxy) if manner.proxy else None
    try:
        response = session.get(part.address, headers=headers, proxies=proxies, timeout=manner.timeout, stream=True)
    except _HOPELESS as err:
        raise _FinalError(_words(err)) from err
    except requests.RequestException as err:
        raise _BrokenOffError(_words(err)) from err
    with response:
        total = _begin(part, response, have, version)
        if size is not None and total is not None and total != size:
            part.remove()
            raise _FinalError(f"the server has {total:,} bytes, and {size:,} are expected")
        if total is not None:
            bar.total = total
        elif size is None:
            getLogger().warning(f"{part.target.name}: the server does not say how long it is; a cut would not be seen")
        bar.update(part.size() - bar.n)
        if total is None or part.size() < total:
            _receive(part, response, bar)
    if total is not None and part.size() != total:
        raise _BrokenOffError(f"broken off at {part.size():,} of {total:,} bytes")


def _begin(part: _Part, response: requests.Response, have: int, version: str | None) -> int | None:
    """Makes the part ready for the answer's body; returns the bytes of the whole file, where the server tells them."""
    status, now = response.status_code, _version(response)
    if status in (206, 416):
        place = _RANGE.fullmatch(response.headers.get("Content-Range", "").strip())
        start = have if status == 416 else int(place[1]) if place and place[1] else -1
        total = int(place[2]) if place else -1
        if start != have or total < have or (status == 416 and total != have) or now not in (None, version):
            part.remove()
            raise _BrokenOffError("what came before is of another version of the file, so it is fetched from its start")
        return total
    if status == 200:
        part.begin(now)
        length = response.headers.get("Content-Length", "")
        return int(length) if length.isdecimal() else None
    reason = f"the server answers {status} {response.reason}"
    if status in _TRY_AGAIN:
        wait = response.headers.get("Retry-After", "")
        raise _BrokenOffError(reason, float(wait) if wait.isdecimal() else 0.0)
    raise _FinalError(reason)


def _receive(part: _Part, response: requests.Response, bar: tqdm[NoReturn]) -> None:
    with part.path.open("ab") as stream:
        while True:
            try:  # as it lies on the server: never unpacked on the way
                chunk = response.raw.read(_CHUNK, decode_content=False)
            except (HTTPError, OSError) as err:
                raise _BrokenOffError(_words(err)) from err
            if not chunk:
                return
            stream.write(chunk)
            bar.update(len(chunk))


def _version(response: requests.Response) -> str | None:
    """The validator that may stand in If-Range."""
    etag = response.headers.get("ETag")
    return etag if etag and not etag.startswith("W/") else response.headers.get("Last-Modified")


def _unlike(path: Path, size: int | None, digest: str | None) -> str | None:
    """How a file differs from what is known of it; None where it does not."""
    length = path.stat().st_size if path.is_file() else 0
    if size is not None and length != size:
        return f"it has {length:,} bytes where {size:,} are expected"
    if digest is not None:
        kind, _, expected = digest.partition(":")
        with path.open("rb") as stream:
            found = hashlib.file_digest(stream, kind).hexdigest()
        if found != expected.lower():
            return f"its {kind} is {found} where {expected} is expected"
    return None


def _words(err: BaseException) -> str:
    return f"{type(err).__name__}: {str(err)[:200]}"
