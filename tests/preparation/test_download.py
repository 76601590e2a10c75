"""Downloads from a local server that stalls, cuts connections, lies and changes its files."""

import errno
import hashlib
import json
import random
import re
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from recbole_lcrec.preparation import download as module
from recbole_lcrec.preparation.download import DownloadError, download
from recbole_lcrec.runtime.artifacts import DiskFullError

BODY = random.Random(3).randbytes(300_000)
OTHER = random.Random(4).randbytes(310_000)
SHA = f"sha256:{hashlib.sha256(BODY).hexdigest()}"


class Server:
    """Answer requests by a plan, one step per request; the last step is repeated.

    Steps have keywords: ``status``, ``cut`` (bytes after which the connection drops), ``stall`` (bytes after which
    nothing comes), ``length`` (the reported length), ``body``, ``etag``, ``modified``, ``ranges``, ``start`` (of the
    range that is sent), ``ignores_if_range``, ``headers``.
    """

    def __init__(self):
        self.plan, self.asked = [{}], []
        self.done = threading.Event()
        server = self

        class Handler(BaseHTTPRequestHandler):
            def log_message(self, *_):
                pass

            def do_GET(self):
                step = server.plan[min(len(server.asked), len(server.plan) - 1)]
                server.asked.append((self.path, dict(self.headers)))
                self.answer(**step)

            def answer(
                self, status=200, cut=None, stall=None, length=None, body=BODY, etag='"one"', modified=None,
                ranges=True, headers=(), start=None, ignores_if_range=False,
            ):  # fmt: skip
                asked = self.headers.get("Range")
                begin = 0
                same = ignores_if_range or self.headers.get("If-Range") in (etag, modified)
                if status == 200 and asked and ranges and same:
                    begin = int(asked.removeprefix("bytes=").rstrip("-")) if start is None else start
                    status = 206 if begin < len(body) else 416
                self.send_response(status)
                if status == 206:
                    self.send_header("Content-Range", f"bytes {begin}-{len(body) - 1}/{len(body)}")
                if status == 416:
                    self.send_header("Content-Range", f"bytes */{len(body)}")
                rest = body[begin:] if status in (200, 206) else b""
                if length != "none":
                    self.send_header("Content-Length", str(len(rest) if length is None else length))
                for name, value in (("ETag", etag), ("Last-Modified", modified), *headers):
                    if value:
                        self.send_header(name, value)
                self.end_headers()
                self.close_connection = True
                self.wfile.write(rest[: cut if cut is not None else stall])
                self.wfile.flush()
                if stall is not None:
                    server.done.wait(10)

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.thread = threading.Thread(target=self.http.serve_forever, args=(0.02,), daemon=True)
        self.thread.start()
        self.address = f"http://127.0.0.1:{self.http.server_port}/files/meta.json.gz"

    def ranges(self):
        return [headers.get("Range") for _, headers in self.asked]

    def close(self):
        self.done.set()
        self.http.shutdown()
        self.http.server_close()


@pytest.fixture
def server(monkeypatch):
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    server = Server()
    yield server
    server.close()


@pytest.fixture
def target(tmp_path):
    return tmp_path / "raw" / "meta.json.gz"


def fetch(server, target, **how):
    return download(server.address, target, **{"backoff": 0.001, "show_progress": False, "retries": 3, **how})


def files(target):
    return sorted(path.name for path in target.parent.iterdir() if not path.name.endswith(".lock"))


def test_a_complete_file_is_not_downloaded_again(server, target):
    assert fetch(server, target, size=len(BODY), digest=SHA) == target
    assert target.read_bytes() == BODY and files(target) == [target.name]
    fetch(server, target, size=len(BODY), digest=SHA)
    assert len(server.asked) == 1 and server.asked[0][1]["Accept-Encoding"] == "identity"


@pytest.mark.parametrize("trouble", [{"cut": 150_000}, {"stall": 150_000}], ids=["cut off", "stalled"])
@pytest.mark.parametrize("proof", [{"etag": '"one"'}, {"etag": None, "modified": "Wed, 01 Jan 2020 00:00:00 GMT"}])
def test_a_broken_download_resumes_where_it_ended(server, target, trouble, proof):
    server.plan = [{**trouble, **proof}, proof]
    fetch(server, target, timeout=0.3, digest=SHA)
    assert target.read_bytes() == BODY and files(target) == [target.name]
    first, second = server.ranges()
    assert first is None and 0 < int(second.removeprefix("bytes=").rstrip("-")) <= 150_000


def test_a_later_call_resumes_an_earlier_one(server, target):
    server.plan = [{"cut": 100_000}, {"status": 404}]
    with pytest.raises(DownloadError, match="404"):
        fetch(server, target)
    assert files(target) == ["meta.json.gz.part", "meta.json.gz.part.json"]
    server.plan = [{}]
    fetch(server, target)
    assert target.read_bytes() == BODY and server.ranges()[-1] == "bytes=100000-"


def test_a_complete_partial_file_is_used(server, target):
    target.parent.mkdir()
    target.with_name("meta.json.gz.part").write_bytes(BODY)
    target.with_name("meta.json.gz.part.json").write_text(json.dumps({"address": server.address, "version": '"one"'}))
    fetch(server, target)
    assert target.read_bytes() == BODY and server.ranges() == [f"bytes={len(BODY)}-"]


@pytest.mark.parametrize(
    "later",
    [{"body": OTHER, "etag": '"two"'}, {"body": OTHER, "etag": None}, {"body": OTHER, "ranges": False}],
    ids=["another version", "no version", "no ranges"],
)
def test_versions_of_a_file_are_never_mixed(server, target, later):
    server.plan = [{"cut": 150_000}, later]
    fetch(server, target)
    assert target.read_bytes() == OTHER


def test_a_server_that_ignores_if_range_is_detected(server, target):
    changed = {"body": OTHER, "etag": '"two"', "ignores_if_range": True}
    server.plan = [{"cut": 150_000}, changed]
    fetch(server, target)
    assert target.read_bytes() == OTHER and server.ranges()[-1] is None


def test_an_unrequested_range_is_rejected(server, target):
    server.plan = [{"cut": 150_000}, {"start": 7}, {}]
    fetch(server, target)
    assert target.read_bytes() == BODY and server.ranges()[-1] is None


def test_without_a_validator_the_download_restarts(server, target):
    server.plan = [{"cut": 150_000, "etag": 'W/"weak"'}, {}]
    fetch(server, target)
    assert target.read_bytes() == BODY and server.ranges() == [None, None]


def test_a_server_that_sends_too_little_is_given_up(server, target):
    server.plan = [{"length": len(BODY) + 9, "ranges": False}]
    with pytest.raises(DownloadError, match="given up after 4 attempts") as caught:
        fetch(server, target)
    assert len(server.asked) == 4 and not target.exists()
    for words in ("meta.json.gz", server.address, str(target.parent)):
        assert words in str(caught.value)


@pytest.mark.parametrize("known", [{"size": len(BODY)}, {"digest": SHA}])
def test_a_file_of_the_wrong_size_is_rejected(server, target, known):
    server.plan = [{"length": 1000}]
    with pytest.raises(DownloadError, match=r"are expected|its sha256 is"):
        fetch(server, target, **known)
    assert files(target) == []


def test_a_missing_content_length_is_accepted(server, target):
    server.plan = [{"length": "none"}]
    fetch(server, target, size=len(BODY), digest=SHA)
    assert target.read_bytes() == BODY


def test_content_with_a_wrong_digest_is_discarded(server, target):
    server.plan = [{"body": OTHER[: len(BODY)]}]
    with pytest.raises(DownloadError, match="its sha256 is"):
        fetch(server, target, size=len(BODY), digest=SHA)
    assert files(target) == []


def test_a_different_existing_file_is_kept_and_named(server, target):
    target.parent.mkdir()
    target.write_bytes(b"mine")
    with pytest.raises(ValueError, match="4 bytes instead of 300,000; remove it"):
        fetch(server, target, size=len(BODY))
    assert target.read_bytes() == b"mine" and not server.asked


def test_a_busy_server_is_retried_after_its_delay(server, target, monkeypatch):
    waits = []
    monkeypatch.setattr(module.time, "sleep", waits.append)
    server.plan = [{"status": 503}, {"status": 429, "headers": [("Retry-After", "7")]},
                   {"status": 503, "headers": [("Retry-After", "86400")]}, {}]  # fmt: skip
    fetch(server, target, backoff=0.5)
    assert target.read_bytes() == BODY and waits == [0.5, 7, 60]


@pytest.mark.parametrize("status", [403, 404, 410])
def test_a_missing_file_is_requested_once(server, target, status):
    server.plan = [{"status": status}]
    with pytest.raises(DownloadError, match=f"the server responded {status}"):
        fetch(server, target)
    assert len(server.asked) == 1


def test_offline_the_error_says_where_to_put_the_file(server, target):
    server.close()
    with pytest.raises(DownloadError) as caught:
        fetch(server, target, retries=1)
    for words in ("meta.json.gz", server.address, f"put it into {target.parent}", "ConnectionError", "proxy"):
        assert words in str(caught.value)
    assert str(caught.value).startswith("meta.json.gz could not be downloaded from http://")


def test_a_proxy_needs_no_scheme(server, target):
    proxy = server.address.split("/files")[0].removeprefix("http://").replace("127.0.0.1", "localhost")
    download("http://data.invalid/x.csv", target, proxy=proxy, retries=0, show_progress=False)
    assert target.read_bytes() == BODY and server.asked[0][0] == "http://data.invalid/x.csv"


@pytest.mark.parametrize("by_environment", [True, False])
def test_a_proxy_is_used(server, target, monkeypatch, by_environment):
    proxy = server.address.split("/files")[0]
    if by_environment:
        monkeypatch.setenv("http_proxy", proxy)
    download(
        "http://data.invalid/x.csv", target, proxy=None if by_environment else proxy, retries=0, show_progress=False
    )
    assert target.read_bytes() == BODY and server.asked[0][0] == "http://data.invalid/x.csv"


def test_compressed_content_is_not_decompressed(server, target):
    server.plan = [{"headers": [("Content-Encoding", "gzip")]}]
    fetch(server, target)
    assert target.read_bytes() == BODY


def disk_full(part, response, bar):
    part.path.write_bytes(BODY[:1234])
    raise OSError(errno.ENOSPC, "No space left on device")


def test_a_full_disk_keeps_the_part_for_a_later_call(server, target, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(module, "_receive", disk_full)
        with pytest.raises(DiskFullError, match="No space left") as caught:
            fetch(server, target)
    assert caught.value.errno == errno.ENOSPC and f"no space left in {target.parent} " in caught.value.strerror
    assert "1,234 bytes of meta.json.gz are kept, and the next call resumes from there: free" in caught.value.strerror
    assert "use a folder on another disk" in caught.value.strerror
    assert files(target) == ["meta.json.gz.part", "meta.json.gz.part.json"]
    fetch(server, target, digest=SHA)
    assert server.ranges() == [None, "bytes=1234-"] and files(target) == [target.name]


def test_a_full_disk_leaves_no_part_without_a_validator(server, target, monkeypatch):
    server.plan = [{"etag": None}]
    monkeypatch.setattr(module, "_receive", disk_full)
    with pytest.raises(
        DiskFullError, match=f"in {re.escape(str(target.parent))} .*partial files have been removed: free"
    ):
        fetch(server, target)
    assert files(target) == []


def test_a_folder_that_cannot_be_created_is_named(server, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ValueError, match="file is not writable"):
        fetch(server, tmp_path / "file" / "meta.json.gz")


@pytest.mark.parametrize("address", ["ftp://a/b", "/etc/passwd", "file:///etc/passwd"])
def test_only_http_addresses_are_accepted(address, target):
    with pytest.raises(ValueError, match="must begin with http"):
        download(address, target)
