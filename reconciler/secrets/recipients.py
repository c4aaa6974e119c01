"""Who can read a site's encrypted files: a recipient is put in, or taken out, in all files that concern it and in .sops.yaml.

All files change or none does, and no value is written in the clear. Who is put in gets the data keys as they are, so that no
ciphertext changes. Who is taken out may have kept them: the files get new ones, and every ciphertext changes.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from reconciler import errors
from reconciler.document import sealed
from reconciler.reasons import Reason
from reconciler.secret import reveal
from reconciler.secrets import creation_rules, in_place, passwords, sops
from reconciler.secrets.creation_rules import Rules
from reconciler.secrets.in_place import Replacement
from reconciler.secrets.passwords import PasswordSpec
from reconciler.system import files

_COMMENT: Final = re.compile(rb"^\s*#", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class File:
    """An encrypted file of the site: its path below the site's folder, and whether it is one secret as a whole.

    `apart`: no host reads it, whatever the rules of .sops.yaml say.
    """

    name: str
    whole: bool = False
    apart: bool = False


@dataclass(frozen=True, slots=True)
class Done:
    """What became of a request.

    `files` were encrypted anew; `rules` is the .sops.yaml that was edited; `unruled` are files of which no rule says for whom they are;
    `readable`: file → the secrets in it that somebody who was shut out could read; `rotated`: those of them that have fresh values.
    """

    files: tuple[str, ...] = ()
    rules: Path | None = None
    unruled: tuple[str, ...] = ()
    readable: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    rotated: tuple[str, ...] = ()


def state(root: Path, found: Sequence[File]) -> tuple[dict[str, tuple[str, ...]], dict[str, tuple[str, ...]]]:
    """For whom each file is encrypted, and for whom .sops.yaml says that it is (files that no rule fits are left out).

    Raises errors.Terminal as `sops.recipients` and `creation_rules.find`.
    """
    rules, fitting = _rules(root)
    now = {file.name: _present(root, file) for file in found}
    said = {}
    for file in found:
        if file.apart:
            said[file.name] = now[file.name]  # whoever has it has it on purpose
        elif (index := fitting(file.name)) is not None:
            said[file.name] = rules.rules[index][1]
    return now, said


def add(
    root: Path,
    who: str,
    found: Sequence[File],
    *,
    reads: Sequence[str] | None = None,
    note: str = "",
    keys: sops.Keys,
) -> Done:
    """Let `who` read the files `reads` (paths, which need not exist yet; None: all of `found`), and whatever else their rules are about.

    `note` becomes a comment in .sops.yaml where each recipient has a line. Raises errors.Terminal: SopsNoKey when `keys` do not open a
    file, SopsFailed, and as `sops.decrypt`; errors.Transient: FileBusy, FileChanged. Nothing is changed then.
    """
    with _locked(root, found):
        rules, fitting = _rules(root)
        asked = set(reads) if reads is not None else {file.name for file in found}
        chosen = {index for name in asked if (index := fitting(name)) is not None}
        if reads is None:
            chosen = set(range(len(rules.rules)))
        wanted, unruled = {}, []
        for file in found:
            reached = file.name in asked
            if file.apart:
                reached = reads is None
            elif (index := fitting(file.name)) is not None:
                reached |= index in chosen
            elif reached:
                unruled.append(file.name)
            if reached:
                present = _present(root, file)
                wanted[file] = present if sealed.among(who, present) else (*present, who)
        return _changed(root, wanted, _edited(root, chosen, who, note), unruled, (), keys)


def remove(
    root: Path, who: str, found: Sequence[File], *, rotate: Sequence[PasswordSpec] = (), keys: sops.Keys
) -> Done:
    """Take `who` out of every file and every rule, and give those of `rotate` that it could read fresh values.

    A value that several files have under one name stays one value. Raises as `add`, and SopsNoRecipients when it is nobody's recipient.
    """
    with _locked(root, found):
        rules, _ = _rules(root)
        present = {file: _present(root, file) for file in found}
        wanted = {
            file: tuple(one for one in to if not sealed.same_key(who, one))
            for file, to in present.items()
            if sealed.among(who, to)
        }
        chosen = {index for index, (_, to) in enumerate(rules.rules) if sealed.among(who, to)}
        if not wanted and not chosen:
            raise errors.Terminal(
                f"{who} is no recipient of any file or rule of {root} (`reconciler secrets recipients list {root}` shows them)",
                reason=Reason.SopsNoRecipients,
            )
        return _changed(root, wanted, _edited(root, chosen, who, None), (), rotate, keys)


def follow(root: Path, found: Sequence[File], *, rotate: Sequence[PasswordSpec] = (), keys: sops.Keys) -> Done:
    """Encrypt every file for whom .sops.yaml says that it is, and for nobody else; as `add` and `remove` for each of them."""
    with _locked(root, found):
        rules, fitting = _rules(root)
        wanted, unruled = {}, []
        for file in found:
            if file.apart:
                continue
            index = fitting(file.name)
            if index is None:
                unruled.append(file.name)
                continue
            present, said = _present(root, file), rules.rules[index][1]
            staying = [one for one in present if sealed.among(one, said)]
            wanted[file] = (*staying, *(one for one in said if not sealed.among(one, present)))
        return _changed(root, wanted, [], unruled, rotate, keys)


# --- steps ----------------------------------------------------------------------------------------------------------


def _changed(
    root: Path,
    wanted: Mapping[File, tuple[str, ...]],
    edited: Sequence[Replacement],
    unruled: Sequence[str],
    rotate: Sequence[PasswordSpec],
    keys: sops.Keys,
) -> Done:
    """Encrypt each file for whom it is wanted; .sops.yaml comes last: after a kill before it, the same request goes on from there."""
    made: list[Replacement] = []
    readable: dict[str, tuple[str, ...]] = {}
    fresh: dict[tuple[str, str], Any] = {}
    indent = creation_rules.find(root).indent
    with ExitStack() as stack:
        for file, to in wanted.items():
            before = _read(root, file)
            present = sops.recipients(before, name=file.name)
            lost = [one for one in present if not sealed.among(one, to)]
            if not lost and len(to) == len(present):
                continue
            if lost:
                _require_somebody(file, to, lost, keys)
                readable[file.name] = _secrets(file, before)
            copy = stack.enter_context(in_place.copy(root / file.name, before))
            _encrypt(file, copy, present, to, lost, keys, indent)
            for spec in rotate if lost and not file.whole else ():
                if spec.name in readable[file.name]:
                    _rotate(file, copy, spec, before, keys, indent, fresh)
            made.append(Replacement(root / file.name, before, copy.read_bytes()))
        in_place.replace([*made, *edited])
    rotated = {name for name, _ in fresh}
    return Done(
        tuple(one.path.relative_to(root).as_posix() for one in made),
        edited[0].path if edited else None,
        tuple(unruled),
        readable,
        tuple(spec.name for spec in rotate if spec.name in rotated),
    )


def _encrypt(
    file: File,
    copy: Path,
    present: Sequence[str],
    to: Sequence[str],
    lost: Sequence[str],
    keys: sops.Keys,
    indent: int | None,
) -> None:
    """Change the recipients of a copy, and see that nothing else came of it."""
    before = copy.read_bytes()
    if len(to) + len(lost) > len(present):
        sops.set_recipients(copy, [*lost, *to], keys=keys, name=file.name, whole=file.whole, indent=indent)
        if sops.ciphertexts(before, name=file.name) != sops.ciphertexts(copy.read_bytes(), name=file.name):
            raise _unexpected(file)
    for one in lost:
        sops.renew(copy, one, keys=keys, name=file.name, whole=file.whole, indent=indent)
    after = copy.read_bytes()
    names = [list(sops.ciphertexts(content, name=file.name)) for content in (before, after)]
    comments = [len(_COMMENT.findall(content)) for content in (before, after)]
    found = sops.recipients(after, name=file.name)
    if names[0] != names[1] or comments[1] < comments[0] or sorted(found) != sorted(to):
        raise _unexpected(file)
    # To the last byte, and with the key that was given, which has to go on opening it.
    if lost and _opened(file, before, keys) != _opened(file, after, keys):
        raise _unexpected(file)


def _rotate(
    file: File,
    copy: Path,
    spec: PasswordSpec,
    before: bytes,
    keys: sops.Keys,
    indent: int | None,
    fresh: dict[tuple[str, str], Any],
) -> None:
    value = sops.decrypt(before, name=file.name, keys=keys).get(spec.name)
    if value is None:
        return
    known = (spec.name, repr(reveal(value)))
    if known not in fresh:
        fresh[known] = passwords.make(spec)
    sops.set_value(copy, spec.name, fresh[known], keys=keys, name=file.name, indent=indent)


def _edited(root: Path, chosen: set[int], who: str, note: str | None) -> list[Replacement]:
    before = creation_rules.text_of(root)
    if before is None or not chosen:
        return []
    path = root / sealed.CREATION_RULES
    after = creation_rules.edited(before, str(path), sorted(chosen), who, note)
    return [Replacement(path, before, after)] if after != before else []


def _rules(root: Path) -> tuple[Rules, Callable[[str], int | None]]:
    """The site's rules, and which of them a path below it is encrypted by."""
    found = creation_rules.find(root)
    return found, lambda name: creation_rules.governing(found, name)


def _locked(root: Path, found: Sequence[File]) -> AbstractContextManager[None]:
    folders = {root, *((root / file.name).parent for file in found)}
    return in_place.locked(*(folder.absolute() for folder in folders))


def _present(root: Path, file: File) -> tuple[str, ...]:
    return tuple(sops.recipients(_read(root, file), name=file.name))


def _read(root: Path, file: File) -> bytes:
    return files.read_nofollow(root, file.name)[0]


def _secrets(file: File, content: bytes) -> tuple[str, ...]:
    if file.whole:
        return (file.name,)
    found = sops.ciphertexts(content, name=file.name)
    return tuple(dict.fromkeys(name.partition(".")[0] for name, text in found.items() if text))


def _require_somebody(file: File, to: Sequence[str], lost: Sequence[str], keys: sops.Keys) -> None:
    if not to:
        raise errors.Terminal(
            f"{file.name}: {' and '.join(lost)} is its only recipient, and nobody could read it any more (add another one first, or "
            "remove the file); nothing was changed",
            reason=Reason.SopsNoRecipients,
        )
    ours = sops.identities(keys)
    if ours and all(sealed.among(one, lost) for one in ours):
        raise errors.Terminal(
            f"{file.name}: the key that was given is the one to shut out, and could not see to it that the file still opens (give the "
            "key of a recipient that stays; a new one has to be let in first); nothing was changed",
            reason=Reason.SopsNoKey,
        )


def _opened(file: File, content: bytes, keys: sops.Keys) -> Any:
    if file.whole:
        return reveal(sops.decrypt_whole(content, name=file.name, keys=keys))
    found = sops.examine(content, name=file.name)
    return reveal(sops.unlock(found.text, name=file.name, recipients=found.recipients, keys=keys, exact=True))


def _unexpected(file: File) -> errors.Terminal:
    return errors.Terminal(
        f"sops changed more of {file.name} than it was asked to; all files are as they were (check the version of sops)",
        reason=Reason.SopsFailed,
    )
