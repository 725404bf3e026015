"""Memory of the host, shared memory, data loader workers, and limits on files and threads."""

from __future__ import annotations

from orchestrator.diagnose.signature import Kind, Signature

SIGNATURES = (
    Signature(
        id="memory.oom-killer",
        meaning="out of memory: the kernel killed a process",
        patterns=(
            r"[Oo]ut of memory: Kill(?:ed)? process (?P<pid>\d{1,10})",
            r"\boom-kill:constraint=.*\bpid=(?P<pid>\d{1,10})",
        ),
        cause="process {pid} was killed because the host or its memory cgroup had none left",
        fix="use fewer data loader workers, or smaller batches or caches; raise the container's limit",
        check="memory",
        asks=("memory",),
    ),
    Signature(
        id="memory.ray",
        meaning="out of host memory: Ray killed a worker",
        patterns=(
            r"\bWorkers \(tasks / actors\) killed due to memory pressure",
            r"\bray\.exceptions\.OutOfMemoryError\b",
            r"due to the node running low on memory",
        ),
        cause="the memory of the host, not of the GPU, was above Ray's threshold "
        "(RAY_memory_usage_threshold)",
        fix="use fewer workers or actors on a node, smaller batches or caches, or more memory; the message "
        "lists the processes that use most",
        check="memory",
    ),
    Signature(
        id="memory.cgroup",
        meaning="out of host memory: the limit of the container or session was reached",
        patterns=(
            r"\bMemory cgroup out of memory: Kill",
            r"\b(?:State|status|reason|Reason)\W{1,8}OOMKilled\b",
            r"\bOOMKilled\b",
            r"\bA process of this unit has been killed by the OOM killer",
            r"\bcontainer .{0,80}exceeded (?:its )?memory limit",
        ),
        cause="the cgroup of the container, pod or session had no memory left, and the kernel killed a "
        "process in it",
        fix="raise its limit (docker run --memory, resources.limits.memory, MemoryMax), or use fewer data "
        "loader workers and smaller caches",
        check="memory",
    ),
    Signature(
        id="memory.slurm",
        meaning="out of memory: the job reached Slurm's memory limit",
        patterns=(
            r"slurmstepd: error: Detected \d+ oom[-_]kill event",
            r"srun: error: \S{1,253}: tasks? [\d,-]{1,200}: Out Of Memory",
            r"slurmstepd: error: .*[Ee]xceeded (?:job|step) memory limit",
        ),
        cause="the memory cgroup of the job was full, and the kernel killed processes in it",
        fix="request more (--mem); use fewer data loader workers, or smaller batches or caches",
        check="memory",
    ),
    Signature(
        id="memory.allocation",
        meaning="out of host memory",
        patterns=(
            r"DefaultCPUAllocator: (?:can't allocate memory|not enough memory)",
            r"^(?:numpy\S*\.)?_?(?:Array)?MemoryError\b",
            r"\bstd::bad_alloc\b",
            r"\[Errno 12\] Cannot allocate memory",
        ),
        cause="the process requested more memory than the host, or its limits, can give",
        fix="use fewer data loader workers, or smaller batches or caches; check `ulimit -v`",
        check="memory",
        asks=("limits",),
    ),
    Signature(
        id="memory.shm",
        meaning="/dev/shm is too small for the data loader",
        patterns=(
            r"DataLoader worker \(pid\(?s?\)? [\d, ]+\) is killed by signal: Bus error",
            r"insufficient shared memory \(shm\)",
            r"unable to (?:write to|open|resize) (?:shared memory )?file </torch_",
            r"unable to allocate shared memory\(shm\)",
            r"unable to mmap \d+ bytes from file </torch_",
            (
                r"It is possible that (?:dataloader's workers are out of shared memory|your system has "
                r"run out of shared)"
            ),
        ),
        cause="workers pass batches in shared memory, of which a container has 64 MiB by default",
        fix="containers: --shm-size=16g or --ipc=host; hosts: mount -o remount,size=16g /dev/shm",
        check="shm",
        asks=("places",),
    ),
    Signature(
        id="loader.killed",
        meaning="a data loader worker was killed",
        patterns=(
            (
                r"DataLoader worker \(pid\(?s?\)? (?P<pid>\d{1,10})\b.* is killed by signal: "
                r"(?P<signal>\w{0,20})"
            ),
        ),
        cause="after SIGKILL: most likely the host was out of memory, and `dmesg` names process {pid}",
        fix="use fewer workers, or a smaller prefetch_factor; after another signal, run with num_workers=0",
        check="memory",
        asks=("memory",),
    ),
    Signature(
        id="loader.exited",
        meaning="a data loader worker ended by itself",
        patterns=(r"DataLoader worker \(pid\(s\) [\d, ]+\) exited unexpectedly",),
        cause="the data set crashed the process, or ranks download it at the same time",
        fix="run with num_workers=0 to see the error; download on rank 0 before a barrier",
    ),
    Signature(
        id="loader.slow",
        meaning="a data loader worker returned no batch in time",
        patterns=(r"DataLoader timed out after \d+ seconds",),
        cause="reading one batch takes longer than the loader's timeout: slow or stuck storage",
        fix="check the storage; raise `timeout` or num_workers",
    ),
    Signature(
        id="limits.files",
        meaning="too many open files",
        patterns=(r"Too many open files", r"received \d+ items of ancdata"),
        cause="the limit on open files (`ulimit -n`) of this session is too low; each worker needs many",
        fix="ulimit -n 65536, or `nofile` in /etc/security/limits.conf; or "
        "torch.multiprocessing.set_sharing_strategy('file_system')",
        check="limits",
        asks=("limits",),
    ),
    Signature(
        id="limits.threads",
        meaning="no more threads or processes can start",
        patterns=(
            r"can't start new thread",
            r"pthread_create failed.*Resource temporarily unavailable",
            r"fork: (?:retry: )?Resource temporarily unavailable",
            r"BlockingIOError: \[Errno 11\] Resource temporarily unavailable",
        ),
        cause="the limit on processes (`ulimit -u`, or the cgroup's pids.max) or on memory is reached",
        fix="raise it, or set OMP_NUM_THREADS and use fewer workers",
        check="limits",
        asks=("limits",),
    ),
    Signature(
        id="limits.omp-warning",
        meaning="torchrun set OMP_NUM_THREADS",
        patterns=(r"Setting OMP_NUM_THREADS environment variable for each process to be 1",),
        cause="the ranks of a node would otherwise compete for its cores",
        fix="nothing; set OMP_NUM_THREADS to choose another number",
        kind=Kind.NOISE,
    ),
)
