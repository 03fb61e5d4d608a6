"""Run as root in a room: writes what no guest agent would say to the host, over the agent's own end of the channel. The kernel lets nobody open a port a
second time, so the agent's open file is taken from it (pidfd_getfd(2)). Arguments: what to write."""
import ctypes, os, sys

PIDFD_OPEN, PIDFD_GETFD = 434, 438
libc = ctypes.CDLL(None, use_errno=True)


def syscall(*words):
    answer = libc.syscall(*words)
    if answer < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return answer


def agents_port():
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            for fd in os.listdir(f"/proc/{pid}/fd"):
                if os.readlink(f"/proc/{pid}/fd/{fd}").startswith("/dev/vport"):
                    return syscall(PIDFD_GETFD, syscall(PIDFD_OPEN, int(pid), 0), int(fd), 0)
        except FileNotFoundError:
            continue
    raise SystemExit("nobody holds the port")


def frame(length, stream, kind, lane, payload=b""):
    return length.to_bytes(4, "little") + stream.to_bytes(4, "little") + bytes([kind, lane, 0, 0]) + payload


OPEN, DATA, WINDOW, PONG = 1, 2, 5, 7
words = {
    "random": lambda: os.urandom(4 << 20),
    "huge": lambda: frame(0xFFFFFFF0, 1, DATA, 0) + bytes(8 << 20),
    "opens": lambda: b"".join(frame(0, stream, OPEN, 0) for stream in range(2, 200_000, 2)),
    "strays": lambda: b"".join(frame(65_536, stream, DATA, 0, bytes(65_536)) for stream in range(100_001, 100_401, 2)),
    "credit": lambda: b"".join(frame(4, stream, WINDOW, 0, b"\xff" * 4) for stream in range(1, 200, 2)),
    "pongs": lambda: frame(64, 0, PONG, 0, bytes(64)) * 50_000,
    "half": lambda: frame(65_536, 1, DATA, 0),
}
port = agents_port()
print("writing", sys.argv[1], flush=True)
rest = memoryview(words[sys.argv[1]]())
while rest:
    rest = rest[os.write(port, rest):]
