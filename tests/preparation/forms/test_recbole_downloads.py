"""RecBole's data sets from a test server: downloaded, renamed, complete or absent."""

from __future__ import annotations

import io
import threading
import zipfile
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from recbole_lcrec.cli.data import main
from recbole_lcrec.preparation.forms.recbole_downloads import download_recbole, recbole_addresses

NAME = "amazon-video-games-18"
PATH = "/ProcessedDatasets/Amazon_ratings/Amazon2018/Amazon_Video_Games.zip"
INTER = "user_id:token\titem_id:token\trating:float\ttimestamp:float\nu1\tB001\t5\t10\n"


def archive(files: dict[str, str], packing: int = zipfile.ZIP_STORED) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", packing) as packed:
        for name, text in files.items():
            packed.writestr(name, text)
    return stream.getvalue()


def spoilt(whole: bytes) -> bytes:
    """An archive whose first member, ``x.inter``, starts with an invalid deflate block."""
    start = whole.index(b"x.inter") + len(b"x.inter")
    return whole[:start] + b"\xff" + whole[start + 1 :]


def locked(whole: bytes) -> bytes:
    """An archive whose only member is marked as encrypted, in its header and in the directory."""
    changed = bytearray(whole)
    for mark, flags in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        changed[whole.index(mark) + flags] |= 1
    return bytes(changed)


@pytest.fixture
def serve() -> Iterator[dict[str, bytes]]:
    """Serve path -> body; the server's address is under the key ``address``."""
    bodies: dict[str, bytes] = {}

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = bodies.get(self.path)
            self.send_response(404 if body is None else 200)
            self.send_header("Content-Length", str(len(body or b"")))
            self.end_headers()
            self.wfile.write(body or b"")

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    bodies["address"] = f"http://127.0.0.1:{server.server_port}".encode()
    yield bodies
    server.shutdown()
    server.server_close()


def test_recbole_lists_the_tested_data_set() -> None:
    assert recbole_addresses()[NAME].endswith(PATH)


def test_files_get_recboles_names(tmp_path: Path, serve: dict[str, bytes]) -> None:
    serve[PATH] = archive({"Amazon_Video_Games.inter": INTER, "../Amazon_Video_Games.item": "item_id:token\nB001\n"})
    flags = [f"--data_path={tmp_path}", f"--mirror={serve['address'].decode()}"]
    assert main(["download", NAME, *flags]) == 0
    folder = tmp_path / NAME
    assert {path.name for path in folder.iterdir() if path.is_file()} == {f"{NAME}.inter", f"{NAME}.item"}
    assert not (folder / "raw" / "Amazon_Video_Games.zip").exists()
    assert (folder / f"{NAME}.inter").read_text(encoding="utf-8") == INTER


def test_macos_metadata_files_are_skipped(tmp_path: Path, serve: dict[str, bytes]) -> None:
    """The real file comes first, then folders and junk files with the same suffix."""
    notes = {"one/note.txt": "1", "two/note.txt": "2"}
    junk = {"__MACOSX/ml/._ml.inter": "junk", "ml/._ml.item": "junk", "__MACOSX/ml.user": "junk", "old.inter/": ""}
    serve[PATH] = archive({"ml/ml.inter": INTER, "ml/ml.item": "item_id:token\nB001\n", **notes, **junk})
    files = download_recbole(NAME, tmp_path, serve["address"].decode(), show_progress=False)
    assert [path.name for path in files] == [f"{NAME}.inter", f"{NAME}.item"]
    assert [path.read_text(encoding="utf-8") for path in files] == [INTER, "item_id:token\nB001\n"]


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"no archive", "not a complete archive"),
        (archive({"x.inter": INTER})[:-30], "not a complete archive"),
        (archive({"readme.txt": "hello"}), "contains no interactions, but readme.txt"),
        (archive({"__MACOSX/x/._x.inter": "junk"}), "contains no interactions, but nothing"),
        (spoilt(archive({"x.inter": INTER * 50}, zipfile.ZIP_DEFLATED)), "not a complete archive.*invalid"),
        (locked(archive({"x.inter": INTER})), "not a complete archive.*encrypted"),
        (
            archive({"one/x.inter": INTER, "two/x.inter": INTER}),
            "both one/x.inter and two/x.inter.* as amazon-video-games-18.inter",
        ),
    ],
)
def test_a_damaged_archive_leaves_no_data_set(
    tmp_path: Path, serve: dict[str, bytes], body: bytes, message: str
) -> None:
    serve[PATH] = body
    with pytest.raises(ValueError, match=message):
        download_recbole(NAME, tmp_path, serve["address"].decode(), show_progress=False)
    assert [path.name for path in tmp_path.iterdir()] == ["raw"]


def test_an_existing_data_set_is_not_downloaded_again(tmp_path: Path) -> None:
    (tmp_path / f"{NAME}.inter").write_text(INTER, encoding="utf-8")
    with pytest.raises(ValueError, match="exists already"):
        download_recbole(NAME, tmp_path, "http://127.0.0.1:9", show_progress=False)


def test_a_file_missing_on_the_server(tmp_path: Path, serve: dict[str, bytes]) -> None:
    with pytest.raises(OSError, match=r"Amazon_Video_Games\.zip could not be downloaded"):
        download_recbole(NAME, tmp_path, serve["address"].decode(), show_progress=False)
