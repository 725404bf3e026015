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
        cause="process {pid} was killed, because the host or its memory cgroup had none left",
        fix="fewer data loader workers, smaller batches or caches; a higher memory limit of the container",
        check="memory",
    ),
    Signature(
        id="memory.slurm",
        meaning="out of memory: Slurm's memory limit",
        patterns=(
            r"slurmstepd: error: Detected \d+ oom[-_]kill event",
            r"srun: error: \S{1,253}: tasks? [\d,-]{1,200}: Out Of Memory",
            r"slurmstepd: error: .*[Ee]xceeded (?:job|step) memory limit",
        ),
        cause="the job's memory cgroup was full, and the kernel killed what was in it",
        fix="ask for more (--mem, --mem-per-cpu); fewer data loader workers, smaller batches or caches",
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
        cause="the process asked for more memory than the host, or its limits, can give",
        fix="fewer data loader workers, smaller batches or caches; `ulimit -v`, the container's limit",
        check="memory",
    ),
    Signature(
        id="memory.shm",
        meaning="/dev/shm is too small for the data loader",
        patterns=(
            r"DataLoader worker \(pid\(?s?\)? [\d, ]+\) is killed by signal: Bus error",
            r"insufficient shared memory \(shm\)",
            r"unable to (?:write to|open|resize) (?:shared memory )?file </torch_",
            r"unable to allocate shared memory\(shm\)",
        ),
        cause="workers hand batches over in shared memory; a container gives 64 MiB unless told otherwise",
        fix="start the container with --shm-size=16g or --ipc=host; on a host, remount /dev/shm larger",
        check="shm",
    ),
    Signature(
        id="loader.killed",
        meaning="a data loader worker was killed",
        patterns=(r"DataLoader worker \(pid\(?s?\)? (?P<pid>\d{1,10})\b.* is killed by signal: ",),
        cause="for SIGKILL the host was most likely out of memory: `dmesg` names process {pid} then",
        fix="fewer workers, smaller prefetch_factor; for another signal, run with num_workers=0",
        check="memory",
    ),
    Signature(
        id="loader.exited",
        meaning="a data loader worker ended by itself",
        patterns=(r"DataLoader worker \(pid\(s\) [\d, ]+\) exited unexpectedly",),
        cause="the data set crashed the process, or ranks download it at the same time",
        fix="run with num_workers=0 to see the error; download on rank 0, then barrier",
    ),
    Signature(
        id="loader.slow",
        meaning="a data loader worker gave no batch in time",
        patterns=(r"DataLoader timed out after \d+ seconds",),
        cause="reading one batch takes longer than the loader's timeout: slow or stuck storage",
        fix="look at the storage; raise `timeout` or num_workers",
    ),
    Signature(
        id="limits.files",
        meaning="too many open files",
        patterns=(r"Too many open files", r"received \d+ items of ancdata"),
        cause="the limit on open files (ulimit -n) of this session is too low; each worker needs many",
        fix="ulimit -n 65536, /etc/security/limits.conf; or "
        "torch.multiprocessing.set_sharing_strategy('file_system')",
        check="limits",
    ),
    Signature(
        id="limits.threads",
        meaning="no more threads or processes",
        patterns=(
            r"can't start new thread",
            r"pthread_create failed.*Resource temporarily unavailable",
            r"fork: (?:retry: )?Resource temporarily unavailable",
            r"BlockingIOError: \[Errno 11\] Resource temporarily unavailable",
        ),
        cause="the limit on processes (ulimit -u, or the cgroup's pids.max) or on memory is reached",
        fix="raise it; set OMP_NUM_THREADS, and use fewer workers",
        check="limits",
    ),
    Signature(
        id="limits.omp-warning",
        meaning="torchrun set OMP_NUM_THREADS",
        patterns=(r"Setting OMP_NUM_THREADS environment variable for each process to be 1",),
        cause="several ranks on a node would otherwise fight for its cores",
        fix="nothing; set OMP_NUM_THREADS to choose it yourself",
        kind=Kind.NOISE,
    ),
)
