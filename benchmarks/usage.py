"""What a process and those that it started have used, by the kernel's own accounting."""

from __future__ import annotations

from pathlib import Path

import psutil

__all__ = ["cpu", "kernel_memory", "resident"]


def _tree(pid: int) -> list[int]:
    try:
        process = psutil.Process(pid)
        return [pid, *(child.pid for child in process.children(recursive=True))]
    except psutil.NoSuchProcess:
        return []


def cpu(pid: int) -> float:
    """Seconds that the process tree has run (`/proc/PID/task/*/schedstat`, in nanoseconds there)."""
    total = 0
    for one in _tree(pid):
        for file in Path(f"/proc/{one}/task").glob("*/schedstat"):
            try:
                total += int(file.read_text().split()[0])
            except (OSError, ValueError, IndexError):  # a thread that ended meanwhile
                continue
    return total / 1e9


def resident(pid: int) -> int:
    """Bytes of user space that the process tree has in memory, shared pages counted by their share."""
    total = 0
    for one in _tree(pid):
        try:
            lines = Path(f"/proc/{one}/smaps_rollup").read_text().splitlines()
        except OSError:
            continue
        total += sum(int(line.split()[1]) * 1024 for line in lines if line.startswith("Pss:"))
    return total


def kernel_memory() -> int:
    """Bytes that the kernel holds for all sockets and their objects: slabs and socket buffers, machine-wide."""
    fields = {}
    for line in Path("/proc/meminfo").read_text().splitlines():
        name, _, rest = line.partition(":")
        fields[name] = int(rest.split()[0]) * 1024
    return fields["Slab"] + fields.get("KernelStack", 0)
