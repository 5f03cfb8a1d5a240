"""System calls that a sandbox refuses, as a program for the kernel's seccomp filter.

libseccomp writes the program (through its Python binding pyseccomp), bubblewrap loads
it before anything else runs in the sandbox.  What Python and torch need is left alone;
refused are the doors to other processes, keys, namespaces, devices and modules, and the
ways to hold memory that belongs to no process and no file system with a size.
"""

import errno
import functools
import os
import tempfile

REFUSED = """
    acct add_key request_key keyctl bpf ptrace process_vm_readv process_vm_writev
    process_madvise kcmp pidfd_getfd userfaultfd perf_event_open lookup_dcookie
    mount umount umount2 pivot_root chroot fsopen fsconfig fsmount fspick open_tree
    open_tree_attr move_mount mount_setattr unshare setns swapon swapoff reboot
    kexec_load kexec_file_load init_module finit_module delete_module create_module
    get_kernel_syms query_module nfsservctl quotactl quotactl_fd syslog
    sethostname setdomainname settimeofday clock_settime clock_adjtime adjtimex stime
    iopl ioperm modify_ldt vm86 vm86old vhangup uselib ustat sysfs _sysctl personality
    name_to_handle_at open_by_handle_at fanotify_init fanotify_mark
    move_pages migrate_pages mbind set_mempolicy vmsplice
    memfd_create memfd_secret shmget shmat shmctl shmdt
    msgget msgsnd msgrcv msgctl semget semop semtimedop semctl
    mq_open mq_unlink mq_timedsend mq_timedreceive mq_notify mq_getsetattr
    setxattr lsetxattr fsetxattr setxattrat mknodat mknod
""".split()
ABSENT = "clone3 io_uring_setup io_uring_enter io_uring_register".split()  # ENOSYS:
# callers then take clone, whose flags can be looked at, or plain reads and writes

NAMESPACES = (  # flags of clone
    0x0002_0000,  # mounts
    0x0200_0000,  # cgroups
    0x0400_0000,  # host name
    0x0800_0000,  # System V
    0x1000_0000,  # users
    0x2000_0000,  # processes
    0x4000_0000,  # network
)
FAMILIES = {1, 2, 16}  # Unix; IP, for ipykernel's talk with itself; netlink, to list
LAST_FAMILY, SOL_SOCKET = 60, 1  # its addresses
SIZES = (7, 8, 32, 33)  # SO_SNDBUF, SO_RCVBUF and their FORCE variants
F_SETPIPE_SZ, TIOCSTI, TIOCLINUX = 1031, 0x5412, 0x541C
MAP_SHARED, MAP_ANONYMOUS = 0x01, 0x20
JOIN_SESSION = 1  # of keyctl


def problem() -> str | None:
    """Why there is no filter here, in one sentence; None when there is one."""
    try:
        program()
    except (ImportError, OSError, RuntimeError) as error:
        return f"no filter of system calls: {' '.join(str(error).split())[:200]}"
    return None


@functools.cache
def program() -> bytes:
    """The filter, as BPF for this machine.

    Raises ImportError without pyseccomp, RuntimeError or OSError without libseccomp.
    """
    import pyseccomp as seccomp

    made = seccomp.SyscallFilter(seccomp.ALLOW)

    def refuse(name, *conditions, code=errno.EPERM):
        try:
            made.add_rule(seccomp.ERRNO(code), name, *conditions)
        except (OSError, ValueError):  # no system of this machine knows the call
            if conditions:
                raise

    def has(argument, bits):
        return seccomp.Arg(argument, seccomp.MASKED_EQ, bits, bits)

    def low(argument, value):  # the kernel reads 32 bits of these arguments
        return seccomp.Arg(argument, seccomp.MASKED_EQ, 0xFFFF_FFFF, value)

    for name in REFUSED:
        if name not in ("keyctl", "mknod", "mknodat"):
            refuse(name)
    for name in ABSENT:
        refuse(name, code=errno.ENOSYS)
    for flag in NAMESPACES:
        refuse("clone", has(0, flag))
    # the boot code takes a new, nameless session keyring; nothing else of keyctl
    refuse("keyctl", seccomp.Arg(0, seccomp.NE, JOIN_SESSION))
    refuse("keyctl", seccomp.Arg(1, seccomp.NE, 0))
    no_family = dict(code=errno.EAFNOSUPPORT)
    for family in {*range(LAST_FAMILY + 1)} - FAMILIES:
        refuse("socket", seccomp.Arg(0, seccomp.EQ, family), **no_family)
    refuse("socket", seccomp.Arg(0, seccomp.GT, LAST_FAMILY), **no_family)
    is_netlink = seccomp.Arg(0, seccomp.EQ, 16)
    refuse("socket", is_netlink, seccomp.Arg(2, seccomp.NE, 0), **no_family)
    for size in SIZES:  # taken without effect: buffers keep the system's size
        refuse("setsockopt", low(1, SOL_SOCKET), low(2, size), code=0)
    refuse("fcntl", low(1, F_SETPIPE_SZ))
    for request in (TIOCSTI, TIOCLINUX):
        refuse("ioctl", low(1, request))
    refuse("mmap", has(3, MAP_SHARED | MAP_ANONYMOUS))
    for name, argument in (("mknod", 1), ("mknodat", 2)):  # devices; pipes may be made
        for kind in (0o020000, 0o060000):
            mask = seccomp.Arg(argument, seccomp.MASKED_EQ, 0o170000, kind)
            refuse(name, mask)
    with tempfile.TemporaryFile() as stream:
        made.export_bpf(stream)
        stream.seek(0)
        return stream.read()


def opened() -> int | None:
    """A file descriptor to read the filter from, for bwrap; None without a filter.

    The caller closes it.
    """
    if problem():
        return None
    reader, writer = os.pipe()  # a pipe holds 64 KB, the program is a tenth of that
    try:
        os.write(writer, program())
    finally:
        os.close(writer)
    return reader
