"""A registry that lies: whatever it serves, either the image is the one that was named or there is none."""

import contextlib
import gzip
import hashlib
import io
import json
import os
import tarfile
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import docker
import pytest

from reconciler import errors
from reconciler.engine import Engine
from reconciler.model import Container
from tests.engine.conftest import compare

pytestmark = pytest.mark.engine

_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
REPOSITORY = f"rt-lies-{os.getpid()}"


def digest(data: bytes) -> str:
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


def layer(files: dict[str, bytes], links: dict[str, str] | None = None) -> bytes:
    """A layer, not packed."""
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as archive:
        for name, target in (links or {}).items():
            entry = tarfile.TarInfo(name)
            entry.type, entry.linkname = tarfile.SYMTYPE, target
            archive.addfile(entry)
        for name, data in files.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(data)
            archive.addfile(entry, io.BytesIO(data))
    return stream.getvalue()


class Image:
    """What a registry has of one image of one layer: two blobs and the manifest that names them."""

    def __init__(self, text: str, *, unpacked: bytes | None = None, diff: str = "", size: int | None = None) -> None:
        whole = unpacked if unpacked is not None else layer({"said": text.encode()})
        self.layer = gzip.compress(whole, mtime=0)
        self.config = json.dumps(
            {
                "architecture": "amd64", "os": "linux", "config": {"Cmd": ["/none"], "Labels": {"said": text}},
                "rootfs": {"type": "layers", "diff_ids": [diff or digest(whole)]}, "history": [{"created_by": text}],
            }
        ).encode()  # fmt: skip
        described = {
            "schemaVersion": 2,
            "mediaType": _MANIFEST,
            "config": {
                "mediaType": "application/vnd.docker.container.image.v1+json",
                "size": len(self.config),
                "digest": digest(self.config),
            },
            "layers": [
                {
                    "mediaType": "application/vnd.docker.image.rootfs.diff.tar.gzip",
                    "size": len(self.layer) if size is None else size,
                    "digest": digest(self.layer),
                }
            ],
        }
        self.manifest = json.dumps(described).encode()


class Liar:
    """A registry on loopback, whose answers are whatever a test puts in: `manifests` by tag or digest, `blobs` by digest."""

    def __init__(self) -> None:
        self.manifests: dict[str, bytes] = {}
        self.blobs: dict[str, bytes] = {}
        liar = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                kind, _, reference = self.path.rpartition("/")
                found = (liar.manifests if kind.endswith("manifests") else liar.blobs).get(reference)
                if self.path == "/v2/":
                    found = b"{}"
                self.send_response(404 if found is None else 200)
                self.send_header(
                    "Content-Type", _MANIFEST if kind.endswith("manifests") else "application/octet-stream"
                )
                self.send_header("Content-Length", str(len(found or b"")))
                if found is not None and kind.endswith("manifests"):
                    # It says what is wanted to be heard.
                    told = reference if reference.startswith("sha256:") else digest(found)
                    self.send_header("Docker-Content-Digest", told)
                self.end_headers()
                if self.command == "GET":
                    with contextlib.suppress(OSError):
                        self.wfile.write(found or b"")

            do_HEAD = do_GET

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.address = f"127.0.0.1:{self._server.server_address[1]}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,))
        self._thread.start()

    def serve(self, image: Image, tag: str = "1") -> str:
        """Serve an image as it is; returns its digest."""
        self.manifests[tag] = self.manifests[digest(image.manifest)] = image.manifest
        self.blobs[digest(image.config)], self.blobs[digest(image.layer)] = image.config, image.layer
        return digest(image.manifest)

    def name(self, reference: str = ":1") -> str:
        return f"{self.address}/{REPOSITORY}{reference}"

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


@pytest.fixture
def liar(docker_client: docker.DockerClient) -> Iterator[Liar]:
    made = Liar()
    yield made
    made.close()
    for image in docker_client.api.images(name=f"{made.address}/{REPOSITORY}"):
        docker_client.api.remove_image(image["Id"], force=True)


def _other_manifest(liar: Liar) -> str:
    wanted = liar.serve(Image("good"))
    liar.manifests[wanted] = Image("evil").manifest
    liar.serve(Image("evil"), "evil")
    return f"@{wanted}"


def _other_layer(liar: Liar) -> str:
    image = Image("good")
    wanted = liar.serve(image)
    liar.blobs[digest(image.layer)] = gzip.compress(layer({"said": b"evil"}), mtime=0).ljust(len(image.layer), b"\0")
    return f"@{wanted}"


def _other_config(liar: Liar) -> str:
    image = Image("good")
    wanted = liar.serve(image)
    liar.blobs[digest(image.config)] = image.config.replace(b"good", b"evil")
    return f"@{wanted}"


def _a_layer_that_is_not_what_the_configuration_says(liar: Liar) -> str:
    return f"@{liar.serve(Image('good', diff=digest(b'another')))}"


def _a_manifest_that_is_none(liar: Liar) -> str:
    liar.manifests["1"] = b"[" * 100_000
    return ":1"


def _an_endless_manifest(liar: Liar) -> str:
    liar.manifests["1"] = b" " * (64 << 20)
    return ":1"


LIES: dict[str, tuple[Callable[[Liar], str], str]] = {
    "another manifest": (_other_manifest, "DigestMismatch"),
    "another layer": (_other_layer, "DigestMismatch"),
    "another configuration": (_other_config, "DigestMismatch"),
    "a layer that unpacks to something else": (_a_layer_that_is_not_what_the_configuration_says, "DigestMismatch"),
    "no manifest": (_a_manifest_that_is_none, "PullFailed"),
    "a manifest without end": (_an_endless_manifest, "PullFailed"),
}


@pytest.mark.parametrize("lie", LIES)
def test_what_is_not_what_was_named_is_no_image(engine: Engine, liar: Liar, lie: str) -> None:
    make, reason = LIES[lie]
    name = liar.name(make(liar))
    with pytest.raises(errors.ReconcilerError) as caught:
        engine.pull(name)
    assert caught.value.reason == reason, caught.value
    assert liar.address in str(caught.value)
    assert engine.image(name) is None


@pytest.mark.parametrize("size", [0, 1, 100, 9 << 40])
def test_the_size_that_a_layer_is_said_to_have_is_no_matter(engine: Engine, liar: Liar, size: int) -> None:
    """The digest names it: neither room is kept for terabytes nor is it cut."""
    name = liar.name(f"@{liar.serve(Image('good', unpacked=layer({'said': os.urandom(1 << 20)}), size=size))}")
    engine.pull(name)
    found = engine.image(name)
    assert found is not None and name.partition("@")[2] in found.digests[0]


def test_a_tag_that_moved_changes_nothing(engine: Engine, liar: Liar, name: str) -> None:
    """What runs stays, a pinned digest is what it was, and nobody asks the registry again for a tag that is there."""
    first = liar.serve(Image("good"))
    engine.pull(liar.name())
    before = engine.image(liar.name())
    container = Container(name, liar.name(), command=("/none",), kolla=False)
    engine.create(container)
    liar.serve(Image("evil"))
    assert before and engine.image(liar.name()) == before
    # It was never started, which is all that differs.
    assert [found.field for found in compare(engine, container)] in ([], ["state"])
    engine.pull(liar.name(f"@{first}"))
    pinned = engine.image(liar.name(f"@{first}"))
    assert pinned and pinned.id == before.id


@pytest.mark.parametrize(
    ("files", "links"),
    [
        ({"../../../../../../../../../../@": b"evil"}, {}),
        ({"@": b"evil"}, {}),
        ({"out/@": b"evil"}, {"out": "/"}),
        ({"out@": b"evil"}, {"out": "../../../../../../../../.."}),
    ],
)
def test_a_layer_writes_nothing_outside_of_its_image(
    engine: Engine, liar: Liar, tmp_path: Path, files: dict[str, bytes], links: dict[str, str]
) -> None:
    """The engine unpacks as root: names with `..`, absolute ones and ways through a link stay within the image, or are refused."""
    place = tmp_path / "escaped"
    with contextlib.suppress(errors.ReconcilerError):
        engine.pull(
            liar.name(
                f"@{liar.serve(Image('x', unpacked=layer({n.replace('@', str(place)): d for n, d in files.items()}, links)))}"
            )
        )
    assert not place.exists()
