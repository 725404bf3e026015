"""Which folders and files only this user can have put there: code and run records must come from no others.

The rule is that of sshd's StrictModes. Every folder from the home directory down (from / for a path that is
elsewhere) belongs to this user or to root, and no one else can write to it. A group without other members
counts as this user, as in Debian's sshd; in a sticky folder (/tmp) others cannot touch what is ours.

Folders are checked from the top down. Once one is known to be safe, no one else can replace what is in it,
so the next check by path sees the same thing. `remote/start_agent.py` also sends this file to a node, to be
run before anything that is stored there: it must not import any other module of orch.
"""

from __future__ import annotations

import errno
import grp
import json
import os
import pwd
import shlex
import stat
import sys
import zipimport
from typing import Callable, List, NoReturn, Optional, TypeVar

_OTHERS = stat.S_IWGRP | stat.S_IWOTH
_MAX_LINKS = 40  # the kernel's own limit
_REGULAR = os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC

T = TypeVar("T")

ABSENT, REFUSED = 3, 4
"""Exit codes of `main`."""


class Untrusted(PermissionError):
    """Another user owns `path` or can write to it: `why` names that user, `remedy` is what to do."""

    def __init__(self, path: str, why: str, remedy: str) -> None:
        super().__init__(errno.EPERM, "{}; {}".format(why, remedy), path)
        self.path, self.why, self.remedy = path, why, remedy


def own_folder(path: str, top: str, create: bool = True, strict: bool = False) -> str:
    """Return the real path of the folder `path`; its part `top` and all below that belong to orch.

    What is missing is made with mode 0700, whatever the umask, unless `create` is false: then it raises
    FileNotFoundError. Folders of orch to which others can write (versions that followed the umask left
    some) are closed to them; with `strict` the last one is refused instead. Raises Untrusted, and OSError.
    """
    home = os.path.realpath(os.path.expanduser("~"))
    names, tops = _names(os.path.abspath(path)), _names(os.path.abspath(top))
    assert names[: len(tops)] == tops, "the top is not above the path"
    first_own = len(tops) - 1
    # The parts of the path that are left, the next one last: a name, and whether the folder is orch's own.
    rest = [(name, index >= first_own) for index, name in enumerate(names)][::-1]
    here, links = os.sep, 0
    while rest:
        name, own = rest.pop()
        if name == os.pardir:
            here = os.path.dirname(here)
            continue
        there = os.path.join(here, name)
        status = _look(there, create)
        if stat.S_ISLNK(status.st_mode):
            if not _is_above(here, home):
                _require_owner(there, status, home)
            links += 1
            if links > _MAX_LINKS:
                raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), there)
            target = os.readlink(there)
            here = os.sep if os.path.isabs(target) else here
            ahead = [(each, False) for each in _names(target)]
            if ahead:
                ahead[-1] = (ahead[-1][0], own)
            rest.extend(reversed(ahead))
            continue
        if not stat.S_ISDIR(status.st_mode):
            raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), there)
        if not _is_above(there, home):
            # Checked from within, so that a folder that is mounted on demand is mounted.
            status = os.lstat(os.path.join(there, os.curdir))
            _require_owner(there, status, home)
            if own and not (strict and not rest):
                _close(there, status)
            else:
                _require_closed(there, status, is_parent=not own)
        here = there
    return here


def open_file(path: str, flags: int = os.O_RDONLY, own: bool = False) -> int:
    """Open a regular file, never through a symbolic link at its end, and return its descriptor.

    With `own` no one else may own it or write to it. `flags` may create it, with mode 0600. Raises
    Untrusted, and OSError, also if it is not a regular file.
    """
    try:
        descriptor = os.open(path, flags | _REGULAR, 0o600)
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise OSError(errno.ELOOP, "it is a symbolic link", path) from None
        raise
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise OSError(errno.EINVAL, "it is not a regular file", path)
        if own:
            _require_owner(path, status)
            _require_closed(path, status, is_parent=False)
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def require_own(path: str, status: os.stat_result) -> None:
    """Raise Untrusted if another user owns what is at `path`, or can write to it."""
    _require_owner(path, status)
    _require_closed(path, status, is_parent=True)


def _names(path: str) -> List[str]:
    return [name for name in path.split(os.sep) if name not in ("", os.curdir)]


def _is_above(path: str, home: str) -> bool:
    """Return whether `path` is a folder above the home: sshd does not check those either."""
    return path != home and (home + os.sep).startswith(path.rstrip(os.sep) + os.sep)


def _look(path: str, create: bool) -> os.stat_result:
    try:
        return os.lstat(path)
    except FileNotFoundError:
        if not create:
            raise
    try:
        os.mkdir(path, 0o700)
    except FileExistsError:
        pass  # another process was faster: it is checked like any other
    return os.lstat(path)


def _require_owner(path: str, status: os.stat_result, home: Optional[str] = None) -> None:
    us, owner = os.geteuid(), status.st_uid
    if owner in (us, 0):
        return
    why = "belongs to {}, and you are {}".format(_user(owner), _user(us))
    if owner == unmapped():
        why += " (the file system does not show its owner here: NFS with root_squash, a container)"
    quoted = shlex.quote(path)
    usual = _home_of(us)
    if path == home and usual not in (None, home):
        remedy = "use your own home directory: export HOME={}".format(shlex.quote(str(usual)))
    else:
        remedy = "move it away if it is not yours: mv {0} {0}.other; else: {1}chown -hR {2} {0}"
        remedy = remedy.format(quoted, "" if us == 0 else "sudo ", us)
    raise Untrusted(path, why, remedy)


def _close(path: str, status: os.stat_result) -> None:
    """Remove the permission of others to write to a folder of orch."""
    if not status.st_mode & _OTHERS:
        return
    if os.geteuid() not in (status.st_uid, 0):
        _refuse_open(path, status)
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        status = os.fstat(descriptor)
        _require_owner(path, status)
        os.fchmod(descriptor, stat.S_IMODE(status.st_mode) & ~_OTHERS)
    finally:
        os.close(descriptor)


def _require_closed(path: str, status: os.stat_result, is_parent: bool) -> None:
    mode = status.st_mode
    if not mode & _OTHERS:
        return
    if is_parent:
        if mode & stat.S_ISVTX:
            return
        if not mode & stat.S_IWOTH and _is_alone(status.st_gid) and not _has_list(path):
            return
    _refuse_open(path, status)


def _refuse_open(path: str, status: os.stat_result) -> NoReturn:
    is_everyone = status.st_mode & stat.S_IWOTH
    who = "everybody" if is_everyone else "the group {}".format(_group(status.st_gid))
    command = "chmod go-w {}".format(shlex.quote(path))
    mine = os.geteuid() in (status.st_uid, 0)
    remedy = command if mine else "ask {} for: {}".format(_user(status.st_uid), command)
    raise Untrusted(path, "can be written by {}".format(who), remedy)


def _is_alone(gid: int) -> bool:
    """Return whether a group is this user's own, without other members."""
    user, group = _entry(pwd.getpwuid, os.geteuid()), _entry(grp.getgrgid, gid)
    if user is None or group is None:
        return False
    # Not every directory service can list the users with this primary group. So its name is checked, as
    # useradd and pam_umask do.
    return (
        user.pw_gid == gid and group.gr_name == user.pw_name and set(group.gr_mem) <= {user.pw_name}
    )


def _has_list(path: str) -> bool:
    """Return whether a folder has an access control list: then the group's bits are a mask."""
    try:
        return bool(os.getxattr(path, "system.posix_acl_access"))
    except (OSError, AttributeError):  # there is none, or this system has no such lists
        return False


def _entry(look_up: Callable[[int], T], number: int) -> Optional[T]:
    """Return the entry of a user or a group; None if there is none."""
    try:
        return look_up(number)
    except KeyError:
        return None


def _user(uid: int) -> str:
    user = _entry(pwd.getpwuid, uid)
    return "uid {:d}".format(uid) if user is None else "{} (uid {:d})".format(user.pw_name, uid)


def _group(gid: int) -> str:
    group = _entry(grp.getgrgid, gid)
    return "{:d}".format(gid) if group is None else group.gr_name


def _home_of(uid: int) -> Optional[str]:
    user = _entry(pwd.getpwuid, uid)
    return None if user is None else os.path.realpath(user.pw_dir)


def unmapped() -> int:
    """Return the id that is shown for owners without an id in this user namespace."""
    try:
        with open("/proc/sys/kernel/overflowuid", encoding="ascii") as file:
            return int(file.read())
    except (OSError, ValueError):
        return 65534


# -- before the agent is started -------------------------------------------------------------------


def main(agent: str, verb: str, folder: str, top: str) -> None:
    """Run the zipapp `agent` with `verb` if no one else can have put it in `folder`, or changed it.

    `folder` and `top`, the first folder of orch, start at the home unless they are absolute. If the agent
    is missing, prints `absent` and exits with ABSENT; if it is not to be trusted, prints {"untrusted":
    [sentence, remedy]} and exits with REFUSED. The verb `make` makes the folder, and exits with 0.
    """
    home = os.path.expanduser("~")
    package = os.path.basename(agent)
    try:
        place = own_folder(
            os.path.join(home, folder), os.path.join(home, top), create=verb == "make", strict=True
        )
        if verb == "make":
            sys.exit(0)
        # Its compiled twins have the same start of the name.
        names = [name for name in os.listdir(place) if name.startswith(package[: -len("pyz")])]
        for name in names:
            if name.endswith(".pyz"):
                os.close(open_file(os.path.join(place, name), own=True))
        is_there = package in names
    except Untrusted as error:
        answer = {"untrusted": ["{} {}".format(error.path, error.why), error.remedy]}
        sys.stdout.write(json.dumps(answer) + "\n")
        sys.exit(REFUSED)
    except OSError as error:
        if verb == "make":
            sys.exit("{}: {}".format(error.filename, error.strerror))
        is_there = False  # or it cannot be read: a new one replaces it
    if not is_there:
        sys.stdout.write("absent\n")
        sys.exit(ABSENT)
    _run(agent, verb)


def _run(agent: str, verb: str) -> None:
    """Run a zipapp as `python AGENT VERB` does, without another start of Python."""
    sys.argv[:] = [agent, verb]
    sys.path.insert(0, agent)
    code = zipimport.zipimporter(agent).get_code("__main__")
    exec(code, {"__name__": "__main__"})
