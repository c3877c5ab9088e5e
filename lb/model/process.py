"""What a configuration says of a worker as a process of the system."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class WorkerProcess:
    """The defaults leave everything as the master has it."""

    affinity: tuple[frozenset[int], ...] = ()  # CPUs of each worker; those behind the last have the last; (): all
    priority: int = 0  # nice value, -20 to 20; 0: the master's
    core: int | None = None  # bytes of a core file
    directory: str = ""  # absolute; "": the master's
    environment: tuple[tuple[str, str], ...] = ()  # name, value: set beside what the master has

    def cpus(self, slot: int) -> frozenset[int]:
        """Those of one worker; empty: not said."""
        return self.affinity[min(slot, len(self.affinity) - 1)] if self.affinity else frozenset()
