"""How Patroni and PostgreSQL run when the lab is started as root: PostgreSQL refuses to."""

from __future__ import annotations

import os
import pwd
import subprocess
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from patroni_etcd_reconfig.errors import ConfigError

DIRECT = "direct"
USER_NAMESPACE = "user namespace"
SETPRIV = "setpriv"

# What Patroni will do: use its home directory, read its file, start the interpreter again (setpriv starts
# one that the user himself can't, and Patroni would hang later), import, run PostgreSQL.
_TRIAL = """
import os, subprocess, sys
home, yml, postgres = sys.argv[1:]
trial = os.path.join(home, '.trial')
open(trial, 'w').close()
os.unlink(trial)
open(yml).close()
subprocess.run([sys.executable, '-c', 'import patroni'], check=True)
os.execv(postgres, [postgres, '--version'])
"""


@dataclass(frozen=True)
class Privileges:
    """A way to run programs: what goes in front of their command, and who must own their files."""

    way: str
    prefix: tuple[str, ...] = ()
    owner: tuple[int, int] | None = None

    def hand_over(self, paths: Iterable[Path]) -> None:
        """Give files to the user that the programs run as."""
        for path in paths if self.owner else ():
            os.chown(path, *(self.owner or ()), follow_symlinks=False)


def by_name(way: str) -> Privileges:
    """Return a way by the name that the lab's marker keeps."""
    if way == DIRECT:
        return Privileges(DIRECT)
    user = _unprivileged_user()
    if way == USER_NAMESPACE:
        return _user_namespace(user)
    return _setpriv(user)


def _unprivileged_user() -> pwd.struct_passwd:
    for name in ("postgres", "nobody"):
        try:
            return pwd.getpwnam(name)
        except KeyError:
            continue
    raise ConfigError(
        "there is no user postgres or nobody to run PostgreSQL as", hint="run the lab as an ordinary user"
    )


def _user_namespace(user: pwd.struct_passwd) -> Privileges:
    """Return: see another uid, but keep root's access to root's files, wherever they are."""
    ids = (f"--map-user={user.pw_uid}", f"--map-group={user.pw_gid}")
    return Privileges(USER_NAMESPACE, ("unshare", "--user", *ids))


def _setpriv(user: pwd.struct_passwd) -> Privileges:
    ids = (f"--reuid={user.pw_uid}", f"--regid={user.pw_gid}")
    return Privileges(SETPRIV, ("setpriv", *ids, "--clear-groups"), (user.pw_uid, user.pw_gid))


@dataclass(frozen=True)
class Trial:
    """What a way is tried on: a Patroni's directory and file, its interpreter, and PostgreSQL's program."""

    home: Path
    yml: Path
    python: Path
    postgres: Path


def choose(trial: Trial, known: str = "") -> Privileges:
    """Return the first way in which Patroni can be run, found by trying; `known` is the only one, if given.

    The trial's directory and file end up with the right owner.
    """
    if os.geteuid() != 0:
        return by_name(DIRECT)
    failures = []
    for way in (known,) if known else (USER_NAMESPACE, SETPRIV):
        privileges = by_name(way)
        privileges.hand_over((trial.home, trial.yml))
        words = _try(privileges, trial)
        if not words:
            return privileges
        failures.append(f"{way}: {words}")
    raise _no_way_error(failures)


def _try(privileges: Privileges, on: Trial) -> str:
    """Return "" when it works, else the last line of what went wrong."""
    words = map(str, (on.python, "-c", _TRIAL, on.home, on.yml, on.postgres))
    command = (*privileges.prefix, *words)
    try:
        done = subprocess.run(command, cwd=on.home, capture_output=True, text=True, timeout=30)
    except (OSError, subprocess.TimeoutExpired) as error:
        return str(error)
    return "" if done.returncode == 0 else (done.stderr.strip().splitlines() or ["failed"])[-1]


def _no_way_error(failures: list[str]) -> ConfigError:
    return ConfigError(
        "PostgreSQL refuses to run as root, and no other way works here: " + "; ".join(failures),
        hint="run the lab as an ordinary user, or have this package, --patroni-dir and --dir where "
        "user postgres can read them",
        code="LAB_PRIVILEGES",
    )
