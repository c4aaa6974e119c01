"""The image for CI jobs and reporters: the program, its Python, and Debian's essential programs; an OCI layout in one file.

No registry is asked: Debian's packages are put together by mmdebstrap, the program is what the Debian package has. The same source and the
same versions of Debian's packages give the same bytes. The file is what `docker load`, `podman load` and `skopeo copy oci-archive:` read.
"""

import gzip
import hashlib
import io
import json
import os
import subprocess
import tarfile
import tempfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from tests.images.kolla import mirror, run
from tests.packaging import deb
from tests.support import packages, wheel
from tests.support.paths import CHECKOUT

SUITE = "bookworm"
_INCLUDED = ("python3", "ca-certificates", "libstdc++6", "tzdata")
# What a runtime makes by itself, what only apt reads, and what says where and when it was made. dpkg's own list of what is installed stays, for those who look for holes.
_GONE = ("dev", "etc/apt", "etc/machine-id", "etc/hostname", "etc/resolv.conf", "var/lib/apt", "var/cache/apt", "var/cache/debconf", "var/cache/ldconfig", "var/log/apt", "usr/share/bug", "usr/share/lintian")  # fmt: skip
_NOT_UNPACKED = ("/usr/share/man/*", "/usr/share/info/*", "/usr/share/locale/*", "/usr/share/doc/*")
_KEPT = "/usr/share/doc/*/copyright"
_OURS = (deb.HOME, "usr/bin/reconciler")
# Of a reporter that runs as nobody: an empty volume that is mounted there is made like it.
_STATE, NOBODY = "var/lib/reconciler-reporter", 65534
_LAYER = "application/vnd.oci.image.layer.v1.tar+gzip"
_CONFIG = "application/vnd.oci.image.config.v1+json"
_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
_INDEX = "application/vnd.oci.image.index.v1+json"


@dataclass(frozen=True)
class Image:
    """What was built. `digest` is the manifest's, by which a registry knows the image."""

    archive: Path
    bill: Path
    name: str
    digest: str

    @property
    def reference(self) -> str:
        """Name, version and digest."""
        return f"{self.name}@{self.digest}"


def build(out: Path) -> Image:
    """Build image and bill of materials into `out`. Raises packages.PackagesMissing, kolla.BuildError, subprocess.CalledProcessError."""
    packages.install(["mmdebstrap"])
    out.mkdir(parents=True, exist_ok=True)
    epoch = deb.newest_commit()
    with tempfile.TemporaryDirectory(dir=out, prefix=".image-") as name:
        folder = Path(name)
        folder.chmod(0o755)  # apt reads it as another user
        (folder / "wheel").mkdir()
        found = wheel.build(folder / "wheel")
        version = deb.version_of(found)
        deb.program(folder / "program", deb.RELEASES[SUITE].python, found)
        tree = _tree(folder, epoch)
        layers = _layers(tree, epoch)
        installed = _installed(tree)
        manifest, blobs = _contents(layers, version, epoch)
        digest = _digest(manifest)
        target = out / f"{deb.NAME}_{version}_amd64.oci.tar"
        _archive(target, {**blobs, digest: manifest}, digest, f"{deb.NAME}:{version}", epoch)
    return Image(target, _materials(out, installed), f"{deb.NAME}:{version}", digest)


def _tree(folder: Path, epoch: int) -> Path:
    """One file with all that is in the image, the program compiled by its own Python: children start often, and nothing may write there later."""
    compiled = f"PYTHONHASHSEED=0 /{deb.HOME}/bin/python -m compileall -q -j 1 --invalidation-mode unchecked-hash /{deb.HOME}/lib"
    hooks = [f"sync-in {folder / 'program'} /", f'chroot "$1" sh -ec "{compiled}"']
    options = [f"--dpkgopt=path-exclude={pattern}" for pattern in _NOT_UNPACKED] + [f"--dpkgopt=path-include={_KEPT}"]
    options += [f"--customize-hook={hook}" for hook in hooks]
    words: list[str | Path] = ["mmdebstrap", "--variant=essential", f"--include={','.join(_INCLUDED)}", *options]
    target = folder / "tree.tar"
    outside = {**os.environ, "SOURCE_DATE_EPOCH": str(epoch), "TMPDIR": str(folder)}
    run([*words, SUITE, target, mirror()], folder / "mmdebstrap.log", outside)
    return target


def _layers(tree: Path, epoch: int) -> tuple[bytes, bytes]:
    """Debian's and the program's, unpacked: whoever has the former fetches only the latter."""
    made = [io.BytesIO(), io.BytesIO()]
    with tarfile.open(tree) as source, _tar(made[0]) as debian, _tar(made[1]) as ours:
        for member in sorted(source.getmembers(), key=lambda member: member.name):
            name = member.name.removeprefix("./").rstrip("/")
            if not name or name == "." or name in _GONE or _below(name, _GONE):
                continue
            member.name, member.pax_headers = name, {}
            member.mtime, member.uname, member.gname = min(int(member.mtime), epoch), "", ""
            target = ours if name in _OURS or _below(name, _OURS) else debian
            target.addfile(member, source.extractfile(member) if member.isreg() else None)
        state = tarfile.TarInfo(_STATE)
        state.type, state.mode, state.uid, state.gid, state.mtime = tarfile.DIRTYPE, 0o700, NOBODY, NOBODY, epoch
        ours.addfile(state)
    return made[0].getvalue(), made[1].getvalue()


def _below(name: str, folders: Iterable[str]) -> bool:
    return any(name.startswith(f"{folder}/") for folder in folders)


def _tar(target: io.BytesIO) -> tarfile.TarFile:
    return tarfile.open(fileobj=target, mode="w", format=tarfile.PAX_FORMAT)


def _contents(layers: Iterable[bytes], version: str, epoch: int) -> tuple[bytes, Mapping[str, bytes]]:
    """(the manifest, the other blobs by digest)."""
    created = datetime.fromtimestamp(epoch, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    packed = [(layer, gzip.compress(layer, 9, mtime=0)) for layer in layers]
    config = _json(
        {
            "architecture": "amd64",
            "os": "linux",
            "created": created,
            # No entry point: a CI runner starts a shell in it.
            "config": {
                "Env": ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "LANG=C.UTF-8"],
                "Cmd": ["reconciler", "--help"],
                "Labels": _labels(version, created),
            },
            "rootfs": {"type": "layers", "diff_ids": [_digest(layer) for layer, _ in packed]},
            "history": [
                {"created": created, "created_by": f"Debian {SUITE}: {', '.join(_INCLUDED)}"},
                {"created": created, "created_by": f"{deb.NAME} {version}"},
            ],
        }
    )
    blobs = [(_CONFIG, config), *((_LAYER, data) for _, data in packed)]
    parts = [{"mediaType": kind, "digest": _digest(data), "size": len(data)} for kind, data in blobs]
    manifest = {"schemaVersion": 2, "mediaType": _MANIFEST, "config": parts[0], "layers": parts[1:]}
    return _json(manifest), {_digest(data): data for _, data in blobs}


def _labels(version: str, created: str) -> Mapping[str, str]:
    commit = subprocess.run(["git", "-C", str(CHECKOUT), "rev-parse", "HEAD"], check=True, capture_output=True, text=True)  # fmt: skip
    own = {
        "title": deb.NAME,
        "description": "reconciler for CI jobs and reporters",
        "licenses": "Apache-2.0",
        "version": version,
        "revision": commit.stdout.strip(),
        "created": created,
    }
    return {f"org.opencontainers.image.{name}": value for name, value in own.items()}


def _archive(target: Path, blobs: Mapping[str, bytes], digest: str, name: str, epoch: int) -> None:
    """An OCI layout, and beside it the list by which engines older than Docker 25 load an image."""
    entry = {"mediaType": _MANIFEST, "digest": digest, "size": len(blobs[digest])}
    entry["annotations"] = {"org.opencontainers.image.ref.name": name.rpartition(":")[2]}
    manifest = json.loads(blobs[digest])
    config, *layers = (_place(part["digest"]) for part in (manifest["config"], *manifest["layers"]))
    files = {
        "index.json": _json({"schemaVersion": 2, "mediaType": _INDEX, "manifests": [entry]}),
        "manifest.json": _json([{"Config": config, "RepoTags": [name], "Layers": layers}]),
        "oci-layout": _json({"imageLayoutVersion": "1.0.0"}),
        **{_place(known): data for known, data in blobs.items()},
    }
    with tarfile.open(target, "w", format=tarfile.USTAR_FORMAT) as archive:
        for path, data in sorted(files.items()):
            member = tarfile.TarInfo(path)
            member.size, member.mtime, member.mode = len(data), epoch, 0o644
            archive.addfile(member, io.BytesIO(data))


def _place(digest: str) -> str:
    return f"blobs/{digest.replace(':', '/')}"


def _digest(data: bytes) -> str:
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


def _json(value: Any) -> bytes:
    return json.dumps(value, sort_keys=True, separators=(",", ":")).encode()


def _installed(tree: Path) -> list[tuple[str, str, str]]:
    """(name, version, architecture) of Debian's packages in it."""
    with tarfile.open(tree) as source:
        status = source.extractfile("./var/lib/dpkg/status")
        assert status
        text = status.read().decode()
    found = []
    for paragraph in text.strip().split("\n\n"):
        fields = dict(line.split(": ", 1) for line in paragraph.splitlines() if ": " in line and line[0] != " ")
        if fields["Status"].endswith(" installed"):
            found.append((fields["Package"], fields["Version"], fields["Architecture"]))
    return sorted(found)


def _materials(out: Path, installed: Iterable[tuple[str, str, str]]) -> Path:
    """The bill of the lock, and Debian's packages with it."""
    with tempfile.TemporaryDirectory() as name:
        bill = json.loads(deb.materials(Path(name)).read_text())
    bill["components"] += [
        {
            "type": "library",
            "bom-ref": f"deb-{name}",
            "name": name,
            "version": version,
            "purl": f"pkg:deb/debian/{name}@{version.replace('+', '%2B').replace(':', '%3A')}?arch={architecture}&distro={SUITE}",
        }
        for name, version, architecture in installed
    ]
    target = out / f"{deb.NAME}-image.cdx.json"
    target.write_text(json.dumps(bill, indent=2, sort_keys=True) + "\n")
    return target
