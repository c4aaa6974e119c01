"""Loaded into the oracle's Ansible as a callback plugin: nothing that a play does gets out of a scratch folder.

Templates, variables, loops, conditions and Kolla's merges run as they are. What Ansible would do *to a machine* goes through one
method, `ActionBase._execute_module`, and that one is replaced before workers are forked:

    files (copy, file, stat, find, slurp, lineinfile …)   below `scratch/hosts/<host>/`, which stands for the host's `/`
    facts (setup)                                         what `scratch/facts/<host>.json` says
    `command` of the role's own Python scripts            for real: Keystone's crontab comes out of one
    every other module                                    not run: written to the journal with its arguments, and answered "unchanged"

So prechecks that want systemd or privileges, the container engine, databases, Keystone and the network are never asked, and the
journal holds what kolla-ansible would have asked of them: `kolla_container` with a container's whole definition, `kolla_toolbox`
with databases, users and endpoints, `sysctl`, `modprobe`. One JSON object a line: host, role, task, module, args.
"""

import gc
import glob
import hashlib
import json
import os
import re
import shutil
import stat
import subprocess
import tempfile
import uuid

from ansible.executor.task_executor import TaskExecutor
from ansible.plugins.action import ActionBase
from ansible.plugins.callback import CallbackBase

SCRATCH = os.environ["PARITY_SCRATCH"]
# What modules answer that a play then looks into.
ANSWERS = {
    "kolla_container_facts": {"containers": {}, "result": False},
    "kolla_toolbox": {"stdout": "[]", "query_result": [[]], "msg": "OK", "resources": []},
    "package_facts": {"ansible_facts": {"packages": {}}},
}
# Commands whose output a play reads, by a word in them.
SAYS = {"kolla_keystone_bootstrap": '{"changed": false, "failed": false}', "disable_ipv6": "0"}
QUIET = {"changed": False, "rc": 0, "stdout": "", "stderr": "", "stdout_lines": [], "stderr_lines": []}


class CallbackModule(CallbackBase):
    """Only there to be loaded."""

    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "aggregate"
    CALLBACK_NAME = "standin"


def _plain(value):
    """A value of Ansible's as JSON has it."""
    return json.loads(json.dumps(value, default=str))


def _bits(mode):
    """Kolla writes modes as texts of octal digits."""
    return int(mode, 8) if isinstance(mode, str) else mode


class _Host:
    """The file system of one host, or this machine's own, which is only read."""

    def __init__(self, name, local):
        self.root = "" if local else os.path.join(SCRATCH, "hosts", name)

    def path(self, text):
        """Where a path of the host is kept. What is in the scratch folder already is Ansible's own temporary file."""
        real = os.path.normpath(text)
        if not self.root or real.startswith(SCRATCH):
            return real
        return self.root + real

    def place(self, text):
        """The same for something to be written. Raises PermissionError outside of the scratch folder."""
        found = self.path(text)
        if not found.startswith(SCRATCH + os.sep):
            raise PermissionError(f"{text} is not below the scratch folder")
        os.makedirs(os.path.dirname(found), exist_ok=True)
        return found

    def stat(self, args):
        path = self.path(args["path"])
        if not os.path.lexists(path):
            return {"stat": {"exists": False}}
        found = os.stat(path) if os.path.exists(path) else os.lstat(path)
        kind = {"isdir": stat.S_ISDIR, "isreg": stat.S_ISREG, "islnk": stat.S_ISLNK}
        answer = {name: test(found.st_mode) for name, test in kind.items()}
        answer |= {"exists": True, "path": args["path"], "size": found.st_size, "mode": f"{found.st_mode & 0o7777:04o}"}
        answer |= {"readable": True, "writeable": True, "executable": True, "uid": 0, "gid": 0, "pw_name": "root"}
        answer |= {"mtime": found.st_mtime, "lnk_source": os.path.realpath(path)}
        if answer["isreg"]:
            with open(path, "rb") as file:
                answer["checksum"] = hashlib.sha1(file.read()).hexdigest()
        return {"stat": answer}

    def file(self, args):
        state = args.get("state") or "file"
        path = self.place(args.get("path") or args.get("dest"))
        if state == "directory":
            os.makedirs(path, exist_ok=True)
        elif state == "absent":
            shutil.rmtree(path) if os.path.isdir(path) else os.path.lexists(path) and os.remove(path)
            return {}
        elif state == "touch":
            with open(path, "ab"):
                pass
        elif state in ("link", "hard"):
            if not os.path.lexists(path):
                os.symlink(args["src"], path)
            return {}
        if args.get("mode") and os.path.exists(path):
            os.chmod(path, _bits(args["mode"]))
        return {"path": path, "state": state}

    def copy(self, args):
        dest = args["dest"]
        if dest.endswith("/") or os.path.isdir(self.path(dest)):
            dest = os.path.join(dest, args.get("_original_basename") or os.path.basename(args["src"]))
        target = self.place(dest)
        source = self.path(args["src"])
        if os.path.isdir(source):
            shutil.copytree(source, target, dirs_exist_ok=True)
        else:
            shutil.copyfile(source, target)
        if args.get("mode") and args["mode"] != "preserve":
            os.chmod(target, _bits(args["mode"]))
        return {"dest": dest, "changed": True, "checksum": "", "src": args["src"]}

    def find(self, args):
        paths = args.get("paths") or args.get("path")
        patterns = args.get("patterns") or args.get("pattern") or ["*"]
        patterns = patterns.split(",") if isinstance(patterns, str) else patterns
        found = []
        for folder in [paths] if isinstance(paths, str) else paths:
            for parent, folders, files in os.walk(self.path(folder)):
                names = {"file": files, "directory": folders, "any": files + folders}[args.get("file_type") or "file"]
                for name in sorted(names):
                    if any(_fits(name, pattern, args.get("use_regex")) for pattern in patterns):
                        path = os.path.join(parent, name)[len(self.root) :]
                        found.append({"path": path, "isreg": name in files, "isdir": name in folders})
                if not args.get("recurse"):
                    break
        return {"files": found, "matched": len(found)}

    def lines(self, args):
        """lineinfile and blockinfile, as far as Kolla uses them: what is not there yet comes to the end."""
        path = self.place(args.get("path") or args.get("dest"))
        text = ""
        if os.path.exists(path):
            with open(path, encoding="utf-8") as file:
                text = file.read()
        new = str(args.get("block") if args.get("block") is not None else args.get("line") or "").rstrip("\n") + "\n"
        if new not in text:
            with open(path, "w", encoding="utf-8") as file:
                file.write(text + new)
        if args.get("mode"):
            os.chmod(path, _bits(args["mode"]))
        return {"changed": True}


def _fits(name, pattern, regular):
    return bool(re.match(pattern, name)) if regular else glob.fnmatch.fnmatch(name, pattern)


# Roles that work for others.
SHARED = ("service-", "haproxy-config", "loadbalancer-config", "proxysql-config", "sysctl", "module-load")


def _role(task):
    """The role that a task is for: the innermost one around it that does not only work for others."""
    while task is not None:
        name = task._role.get_name() if getattr(task, "_role", None) else ""
        if name and not name.startswith(SHARED):
            return name
        task = getattr(task, "_parent", None)
    return ""


def _journal(line):
    folder = os.path.join(SCRATCH, "journal")
    os.makedirs(folder, exist_ok=True)
    with open(os.path.join(folder, f"{os.getpid()}-{uuid.uuid4().hex[:6]}.json"), "w", encoding="utf-8") as file:
        json.dump(line, file)


def _execute(self, module_name=None, module_args=None, task_vars=None, **_ignored):
    """In place of ActionBase._execute_module."""
    module = (module_name or self._task.action).rpartition(".")[2]
    args = dict(self._task.args if module_args is None else module_args)
    known = task_vars or {}
    delegated = str(self._task.delegate_to or "")
    local = delegated in ("localhost", "127.0.0.1")
    owner = "localhost" if local else delegated or str(known.get("inventory_hostname", "localhost"))
    host = _Host(owner, local)
    line = {
        "host": owner,
        "role": _role(self._task) or str(known.get("project_name", "")),
        "task": self._task.get_name(),
        "module": module,
        "args": _plain(args),
        "once": bool(self._task.run_once),
    }
    result = dict(QUIET)
    try:
        if module in ("setup", "gather_facts"):
            with open(os.path.join(SCRATCH, "facts", f"{owner}.json"), encoding="utf-8") as file:
                return {**result, "ansible_facts": json.load(file)}
        if module == "stat":
            return {**result, **host.stat(args)}
        if module == "find":
            return {**result, **host.find(args)}
        if module == "slurp":
            import base64

            with open(host.path(args.get("src") or args.get("path")), "rb") as file:
                return {**result, "content": base64.b64encode(file.read()).decode()}
        if module == "copy":
            answer = host.copy(args)
            _journal({**line, "args": {"dest": answer["dest"], "mode": line["args"].get("mode")}})
            return {**result, **answer}
        if module == "file":
            return {**result, **host.file(args)}
        if module in ("lineinfile", "blockinfile"):
            _journal({**line, "args": {"dest": args.get("path") or args.get("dest"), "mode": line["args"].get("mode")}})
            return {**result, **host.lines(args)}
        if module == "command" and ".py" in str(args.get("_raw_params")) and local:
            done = subprocess.run(
                args["_raw_params"], shell=True, check=True, capture_output=True, text=True, timeout=60
            )
            return {**result, "stdout": done.stdout, "stdout_lines": done.stdout.splitlines()}
    except Exception as error:
        return {**result, "failed": True, "msg": f"{module} {args}: {error!r}"}
    _journal(line)
    if module in ("command", "shell"):
        says = [text for word, text in SAYS.items() if word in str(args.get("_raw_params"))]
        return {**result, "stdout": "".join(says), "stdout_lines": says}
    return {**result, **ANSWERS.get(module, {})}


def _refuse(self, cmd, *_args, **_named):
    raise RuntimeError(f"the oracle runs nothing on a host: {cmd}")


def _temporary(self, remote_user=None):
    self._connection._shell.tmpdir = tempfile.mkdtemp(dir=os.path.join(SCRATCH, "tmp"))
    return self._connection._shell.tmpdir


def _removed(self, tmp_path, force=False):
    if tmp_path and str(tmp_path).startswith(SCRATCH):
        shutil.rmtree(tmp_path, ignore_errors=True)
        self._connection._shell.tmpdir = None


def _transferred(self, local_path, remote_path):
    shutil.copyfile(local_path, remote_path)
    return remote_path


_run_task = TaskExecutor.run


def _go_on(self):
    """In place of TaskExecutor.run: what fails is written down, and the play goes on, so that the rest can still be compared."""
    result = _run_task(self)
    if result.get("failed") and not self._task.ignore_errors:
        known = {key: value for key, value in result.items() if key in ("msg", "results", "stderr")}
        line = {
            "host": self._host.name,
            "role": _role(self._task),
            "task": self._task.get_name(),
            "module": "incomplete",
        }
        _journal({**line, "args": {"said": str(_plain(known))[:2000]}, "once": bool(self._task.run_once)})
        result = {key: value for key, value in result.items() if key != "exception"} | {"failed": False}
    return result


TaskExecutor.run = _go_on
ActionBase._execute_module = _execute
ActionBase._low_level_execute_command = _refuse
ActionBase._make_tmp_path = _temporary
ActionBase._remove_tmp_path = _removed
ActionBase._transfer_file = _transferred
ActionBase._fixup_perms2 = lambda self, *_args, **_named: []
ActionBase._remote_expand_user = lambda self, path, **_named: path

# Ansible forks a worker for each task and host: what a collector would touch there is not copied, and workers end soon.
os.register_at_fork(before=gc.freeze, after_in_child=gc.disable)
