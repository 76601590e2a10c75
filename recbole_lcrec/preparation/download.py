"""Download a file with resume, retries and checks; the file is either complete or absent.

A partial download is kept in ``<file>.part``, with the server's version of the file in ``<file>.part.json``. It is
resumed only if the server confirms that version; otherwise the download starts over.
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
_PROGRESS = 1 << 20
_LONGEST_WAIT = 60.0
_RETRYABLE = frozenset({408, 425, 429, 500, 502, 503, 504})
_RANGE = re.compile(r"bytes (?:(\d+)-\d+|\*)/(\d+)")
_FINAL = (
    requests.exceptions.InvalidURL,
    requests.exceptions.InvalidSchema,
    requests.exceptions.MissingSchema,
    requests.exceptions.TooManyRedirects,
)


class DownloadError(FileNotFoundError):
    """A file could not be downloaded; names the file, its address, and the folder to put it in by hand."""

    def __str__(self) -> str:
        return self.strerror or super().__str__()  # without the error number


class _RetryableError(Exception):
    """A failed attempt that may be repeated; ``wait`` is the delay requested by the server, in seconds."""

    def __init__(self, reason: str, wait: float = 0.0) -> None:
        super().__init__(reason)
        self.wait = wait


class _FinalError(Exception):
    """A failed attempt that repeating cannot fix."""


@dataclass(frozen=True)
class _Options:
    """Options of a download; see :func:`download`."""

    proxy: str | None
    retries: int
    timeout: float
    backoff: float
    show_progress: bool


@dataclass(frozen=True)
class _Part:
    """A partial download."""

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
        """Return the version of the file on the server that the part belongs to; None if unknown."""
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
    """Download a file, unless it exists.

    Args:
        address: http or https.
        target: path of the file; its folder is created if needed.
        size: expected size in bytes, if known.
        digest: expected digest as ``sha256:<digits>`` (or another hashlib algorithm), if known.
        proxy: address of a proxy, http by default; None for the environment's (``HTTPS_PROXY``, ``NO_PROXY``).
        retries: failed attempts in a row that are repeated; an attempt that brings at least 1 MiB resets the count.
        timeout: seconds to wait for a connection, and for each further byte.
        backoff: shortest delay between attempts in seconds; it doubles up to a minute.
        show_progress: whether to show a progress bar.

    Returns:
        ``target``.

    Raises:
        ValueError: the existing file has another size or digest, the address is neither http nor https, or the folder
            is not writable.
        DownloadError: the file could not be downloaded, or has another size or digest.
        DiskFullError: the disk is full. A partial file that the next call can resume is kept, any other removed.
    """
    if not address.startswith(("http://", "https://")):
        raise ValueError(f"address = {address!r} must begin with http:// or https://")
    lock = FileLock(target.with_name(f".{target.name}.lock"))
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        lock.acquire()
    except OSError as err:
        raise ValueError(f"{target.parent} is not writable ({err}); use another folder for {target.name}") from err
    try:
        if not target.exists():
            over = f"http://{proxy}" if proxy and "://" not in proxy else proxy
            _fetch_whole(_Part(target, address), size, digest, _Options(over, retries, timeout, backoff, show_progress))
        elif problem := _mismatch(target, size, digest):
            raise ValueError(f"{target} exists, but {problem}; remove it to download it again from {address}")
    finally:
        lock.release()
    return target


def _fetch_whole(part: _Part, size: int | None, digest: str | None, options: _Options) -> None:
    try:
        _fetch(part, size, options)
        if problem := _mismatch(part.path, size, digest):
            part.remove()
            raise _FinalError(f"the download was discarded because {problem}")
        os.replace(part.path, part.target)
        part.remove()
    except _FinalError as err:
        raise DownloadError(
            errno.ENOENT,
            f"{part.target.name} could not be downloaded from {part.address}: {err}. Get it by other means and put it "
            f"into {part.target.parent}, or use a mirror or a proxy",
        ) from err
    except OSError as err:
        kept = part.size() if part.version() else 0
        left = f"{kept:,} bytes of {part.target.name} are kept, and the next call resumes from there"
        full = disk_full(err, part.target.parent, left) if kept else disk_full(err, part.target.parent)
        if full is None:
            raise
        if not kept:
            part.remove()
        raise full from err


def _fetch(part: _Part, size: int | None, options: _Options) -> None:
    """Repeat attempts until the part is complete.

    Raises:
        _FinalError: the file cannot be downloaded.
        OSError: the part cannot be written.
    """
    failures, best = 0, part.size()
    with (
        requests.Session() as session,
        tqdm(total=size, desc=part.target.name, unit="B", unit_scale=True, disable=not options.show_progress) as bar,
    ):
        while True:
            try:
                return _try(part, size, session, options, bar)
            except _RetryableError as err:
                failures += 1
                if part.size() >= best + _PROGRESS:
                    failures, best = 1, part.size()
                if failures > options.retries:
                    raise _FinalError(f"{err} (given up after {failures} attempts in a row)") from err
                wait = min(_LONGEST_WAIT, max(err.wait, options.backoff * 2.0 ** (failures - 1)))
                getLogger().warning(f"{part.target.name}: {err}; retrying in {wait:.3g} s")
                time.sleep(wait)


def _try(part: _Part, size: int | None, session: requests.Session, options: _Options, bar: tqdm[NoReturn]) -> None:
    """Make one request, from the end of the part or from the start of the file.

    Raises:
        _RetryableError: the connection ended before the file did.
        _FinalError: another attempt would fail as well.
    """
    version = part.version()
    if version is None:
        part.remove()  # without a validator, the rest could be of another version
    have = part.size()
    headers = {"Accept-Encoding": "identity"}
    if have and version is not None:
        headers |= {"Range": f"bytes={have}-", "If-Range": version}
    proxies = dict.fromkeys(("http", "https"), options.proxy) if options.proxy else None
    try:
        response = session.get(part.address, headers=headers, proxies=proxies, timeout=options.timeout, stream=True)
    except _FINAL as err:
        raise _FinalError(_words(err)) from err
    except requests.RequestException as err:
        raise _RetryableError(_words(err)) from err
    with response:
        total = _begin(part, response, have, version)
        if size is not None and total is not None and total != size:
            part.remove()
            raise _FinalError(f"the server has {total:,} bytes, but {size:,} are expected")
        if total is not None:
            bar.total = total
        elif size is None:
            getLogger().warning(
                f"{part.target.name}: the server does not report its length, so truncation cannot be detected"
            )
        bar.update(part.size() - bar.n)
        if total is None or part.size() < total:
            _receive(part, response, bar)
    if total is not None and part.size() != total:
        raise _RetryableError(f"interrupted at {part.size():,} of {total:,} bytes")


def _begin(part: _Part, response: requests.Response, have: int, version: str | None) -> int | None:
    """Prepare the part for the response body; return the size of the whole file, if the server reports it."""
    status, now = response.status_code, _version(response)
    if status in (206, 416):
        place = _RANGE.fullmatch(response.headers.get("Content-Range", "").strip())
        start = have if status == 416 else int(place[1]) if place and place[1] else -1
        total = int(place[2]) if place else -1
        if start != have or total < have or (status == 416 and total != have) or now not in (None, version):
            part.remove()
            raise _RetryableError("the partial file belongs to another version, so the download starts over")
        return total
    if status == 200:
        part.begin(now)
        length = response.headers.get("Content-Length", "")
        return int(length) if length.isdecimal() else None
    reason = f"the server responded {status} {response.reason}"
    if status in _RETRYABLE:
        wait = response.headers.get("Retry-After", "")
        raise _RetryableError(reason, float(wait) if wait.isdecimal() else 0.0)
    raise _FinalError(reason)


def _receive(part: _Part, response: requests.Response, bar: tqdm[NoReturn]) -> None:
    with part.path.open("ab") as stream:
        while True:
            try:  # as stored on the server, not decompressed
                chunk = response.raw.read(_CHUNK, decode_content=False)
            except (HTTPError, OSError) as err:
                raise _RetryableError(_words(err)) from err
            if not chunk:
                return
            stream.write(chunk)
            bar.update(len(chunk))


def _version(response: requests.Response) -> str | None:
    """Return the validator for ``If-Range``."""
    etag = response.headers.get("ETag")
    return etag if etag and not etag.startswith("W/") else response.headers.get("Last-Modified")


def _mismatch(path: Path, size: int | None, digest: str | None) -> str | None:
    """Return how a file differs from the expected size or digest; None if it does not."""
    length = path.stat().st_size if path.is_file() else 0
    if size is not None and length != size:
        return f"it has {length:,} bytes instead of {size:,}"
    if digest is not None:
        kind, _, expected = digest.partition(":")
        with path.open("rb") as stream:
            found = hashlib.file_digest(stream, kind).hexdigest()
        if found != expected.lower():
            return f"its {kind} is {found} instead of {expected}"
    return None


def _words(err: BaseException) -> str:
    return f"{type(err).__name__}: {str(err)[:200]}"
