"""Let calls of geoseg fail or be absent as on Windows, in every process whose PYTHONPATH has this folder.

The libraries keep POSIX, for which they are built: only what modules of geoseg import or call is changed.
"""

import builtins
import errno
import fcntl
import os
import shutil
import signal
import struct
import sys
import types
import warnings
from contextlib import suppress
from pathlib import Path

# https://docs.python.org/3.11/library/os.html and signal.html, "Availability: Unix"
OF_OS = (
    "O_CLOEXEC O_DIRECT O_DIRECTORY O_DSYNC O_NOATIME O_NOCTTY O_NOFOLLOW O_NONBLOCK O_PATH O_RSYNC O_SYNC "
    "O_TMPFILE ST_RDONLY WNOHANG chown chroot confstr copy_file_range ctermid eventfd fchdir fchmod fchown "
    "fdatasync fork forkpty fpathconf fstatvfs get_blocking getegid geteuid getgid getgrouplist getgroups "
    "getloadavg getpgid getpgrp getpriority getresuid getsid getuid getxattr initgroups killpg lchown listxattr "
    "lockf makedev memfd_create mkfifo mknod nice openpty pathconf pipe2 posix_fadvise posix_fallocate posix_spawn "
    "pread preadv pwrite pwritev readv register_at_fork removexattr sched_getaffinity sched_setaffinity "
    "sched_yield sendfile setegid seteuid setgid setpgid setpriority setsid setuid setxattr splice statvfs sync "
    "sysconf tcgetpgrp ttyname uname wait wait3 wait4 waitid writev"
)
OF_SIGNAL = (
    "SIGALRM SIGBUS SIGCHLD SIGCONT SIGHUP SIGIO SIGKILL SIGPIPE SIGQUIT SIGSTOP SIGTSTP SIGUSR1 SIGUSR2 "
    "SIG_BLOCK SIG_SETMASK SIG_UNBLOCK alarm pause pthread_kill pthread_sigmask setitimer siginterrupt sigpending "
    "sigtimedwait sigwait sigwaitinfo"
)
ABSENT = {"os": OF_OS.split(), "signal": OF_SIGNAL.split()}
MODULES = ("fcntl", "grp", "posix", "pwd", "pty", "resource", "syslog", "termios", "tty")
FOLDER_OF_LIBRARIES = os.sep + "site-packages" + os.sep


def refused(path, number=errno.EACCES):
    return PermissionError(number, os.strerror(number), str(path))


class Proxy(types.ModuleType):
    """Module as geoseg gets it on Windows: some names are absent, others replaced; all else is that of the module."""

    def __init__(self, module, absent=(), **replaced):
        super().__init__(module.__name__)
        self.__dict__.update(replaced, _module=module, _absent=frozenset(absent))

    def __getattr__(self, name):
        if name in self._absent:
            raise AttributeError(f"module {self.__name__!r} has no attribute {name!r} on Windows")
        return getattr(self._module, name)

    def __setattr__(self, name, value):
        setattr(self._module, name, value)


def open_(path, flags, *arguments, **options):
    if Path(path).is_dir():
        raise refused(path)
    return os.open(path, flags, *arguments, **options)


def fsync(handle):
    if fcntl.fcntl(handle, fcntl.F_GETFL) & os.O_ACCMODE == os.O_RDONLY:
        raise OSError(errno.EBADF, "Bad file descriptor")
    os.fsync(handle)


def kill(pid, number):
    if number in (0, 1):  # CTRL_C_EVENT and CTRL_BREAK_EVENT, which go to a group of processes
        raise AssertionError(f"signal {number} would interrupt processes on Windows")
    os.kill(pid, signal.SIGKILL)  # any other one ends the process


def locking(handle, mode, n_bytes):
    """Lock bytes for one file object; such locks belong to open file descriptions, like those of Windows."""
    kind = {0: fcntl.F_UNLCK, 2: fcntl.F_WRLCK}[mode]
    begin = os.lseek(handle, 0, os.SEEK_CUR)
    try:
        fcntl.fcntl(handle, 37, struct.pack("hhqqixxxx", kind, os.SEEK_SET, begin, n_bytes, 0))  # F_OFD_SETLK
    except BlockingIOError as err:
        raise refused("the lock") from err


proxies = {
    "os": Proxy(os, ABSENT["os"], open=open_, fsync=fsync, kill=kill, O_BINARY=0),
    "signal": Proxy(signal, ABSENT["signal"], SIGBREAK=signal.SIGQUIT),
    "sys": Proxy(sys, platform="win32"),
    "msvcrt": Proxy(types.ModuleType("msvcrt"), locking=locking, LK_UNLCK=0, LK_NBLCK=2),
}
import_ = builtins.__import__


def import_as_on_windows(name, namespace=None, names=None, fromlist=(), level=0):
    if level == 0 and str((namespace or {}).get("__name__", "")).partition(".")[0] == "geoseg":
        if name in MODULES:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
        if name in proxies:
            return proxies[name]
    return import_(name, namespace, names, fromlist, level)


def is_called_by_geoseg():
    """Return whether a module of geoseg calls a function of the standard library, and not another library does."""
    frame = sys._getframe(2)
    while frame is not None:
        if str(frame.f_globals.get("__name__", "")).partition(".")[0] == "geoseg":
            return True
        if FOLDER_OF_LIBRARIES in frame.f_code.co_filename:
            return False
        frame = frame.f_back
    return False


def check_is_closed(path):
    """Refuse a file that this process, its parent or their children have open."""
    real = os.path.realpath(path)
    pids = {os.getpid(), os.getppid()}
    for pid in tuple(pids):
        with suppress(OSError):
            pids.update(map(int, Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="ascii").split()))
    for pid in pids:
        with suppress(OSError):
            for handle in os.scandir(f"/proc/{pid}/fd"):
                with suppress(OSError):
                    if str(Path(handle.path).readlink()) == real:
                        raise InUseError(path)


class InUseError(Exception):
    """Raised past the handlers of OSError."""


is_checking = False


def check(event, arguments):
    global is_checking
    if is_checking or event not in ("os.rename", "os.remove") or not is_called_by_geoseg():
        return
    is_checking = True
    try:
        for path in arguments[: 2 if event == "os.rename" else 1]:
            if Path(path).is_file():
                check_is_closed(path)
    except InUseError as err:
        raise refused(err) from None
    finally:
        is_checking = False


def install():
    builtins.__import__ = import_as_on_windows
    shutil._use_fd_functions = False
    sys.addaudithook(check)
    warnings.filterwarnings("error", category=EncodingWarning, module=r"geoseg\.")
