"""Ranks that get in each other's way in a shared folder: renames, new folders, caches of kernels, locks.

A cache of compiled kernels is a folder in the home directory. If nodes share it, one replaces or removes a
file while another one reads it; torch's and Triton's own locks work within a node only.
"""

from __future__ import annotations

from orchestrator.diagnose.signature import Kind, Signature

# Folders with kernels that ranks compile when they need them.
_CACHE = (
    r"(?:\.triton|triton_cache|triton/cache|torchinductor_|torch_compile_cache|torch_extensions|"
    r"/\.cache/(?:torch/kernels|vllm|flashinfer|tvm)|\.nv/ComputeCache|\.jit_cache|/cuda_graphs?_cache|"
    r"deep_gemm|cutlass_cache)"
)

SIGNATURES = (
    Signature(
        id="cache.shared",
        meaning="ranks use one cache of compiled kernels at the same time",
        patterns=(
            rf"FileNotFoundError: .*{_CACHE}",
            rf"Stale file handle.*{_CACHE}",
            rf"{_CACHE}.*Stale file handle",
            rf"OSError: .*{_CACHE}.{{0,400}}: (?:file too short|invalid ELF header)",
            rf"Error: .*{_CACHE}.{{0,400}}: (?:cannot open shared object file|file too short|invalid ELF)",
            rf"FileExistsError: .*{_CACHE}",
            rf"OSError: \[Errno (?:16|26|39|116)\] .*{_CACHE}",
            rf"JSONDecodeError.*{_CACHE}",
        ),
        cause="another rank replaced or removed the file; in a shared folder, such as a home on NFS, "
        "nothing keeps nodes apart",
        fix="give each node a cache on its own disk (each rank, if it is on one already): set "
        "TRITON_CACHE_DIR, TORCHINDUCTOR_CACHE_DIR and TORCH_EXTENSIONS_DIR to a local folder such as "
        "/tmp/$USER-kernels, and empty the old one",
        orch_fix="orch launch -e TRITON_CACHE_DIR=/tmp/triton -e TORCHINDUCTOR_CACHE_DIR=/tmp/inductor -e "
        "TORCH_EXTENSIONS_DIR=/tmp/extensions",
        check="shared",
    ),
    Signature(
        id="shared.renamed",
        meaning="several ranks renamed the same file or folder",
        patterns=(
            r"\bFileNotFoundError: \[Errno 2\] .*'(?P<path>[^'\n]{1,400})' -> '[^'\n]{1,400}'",
            r"\bOSError: \[Errno 39\] Directory not empty: '(?P<path>[^'\n]{1,400})' -> '",
            r"\bFileExistsError: \[Errno 17\] .*'(?P<path>[^'\n]{1,400})' -> '[^'\n]{1,400}'",
        ),
        cause="another rank has already moved {path}: all of them write the same checkpoint or file on "
        "shared storage",
        fix="let one rank move it (if rank == 0, then a barrier), and upgrade the library that saves it; "
        "on storage that nodes do not share, one rank of each node (transformers: save_on_each_node=True)",
        is_inferred=True,
    ),
    Signature(
        id="shared.made",
        meaning="several ranks made the same folder or file",
        patterns=(
            r"\bFileExistsError: \[Errno 17\] File exists: '(?P<path>[^'\n]{1,400})'",
            r"mkdir: cannot create directory '(?P<path>[^'\n]{1,400})': File exists",
        ),
        cause="{path} exists already: another rank made it first, or an earlier run left it",
        fix="use os.makedirs(path, exist_ok=True), or make it on rank 0 before a barrier; remove what an "
        "earlier run left",
        is_survivable=True,
        is_inferred=True,
    ),
    Signature(
        id="shared.removed",
        meaning="a file or folder was removed while ranks used it",
        patterns=(
            r"\bOSError: \[Errno 39\] Directory not empty: '(?P<path>[^'\n]{1,400})'$",
            (
                r"\bFileNotFoundError: \[Errno 2\] .*'(?P<path>[^'\n]{1,400})' \(raised by "
                r"(?:os\.(?:remove|unlink|rmdir|rename|replace)|shutil\.(?:rmtree|move)|"
                r"[\w.]{1,80}\.(?:unlink|rmdir|rename|replace))\)"
            ),
            r"\[Errno 116\] Stale file handle: '(?P<path>[^'\n]{0,400}(?:/\.cache/|\.lock)[^'\n]{0,400})'",
            r"\bOSError: \[Errno 16\] Device or resource busy: '(?P<path>[^'\n]{0,400}\.nfs[^'\n]{1,100})'",
        ),
        cause="{path}: another rank removed it or wrote there at the same time, or it never existed",
        fix="let rank 0 alone clean up, after a barrier; if it never existed, correct the path",
        is_inferred=True,
    ),
    Signature(
        id="lock.left",
        meaning="a lock was not released",
        patterns=(
            r"filelock\._error\.Timeout: The file lock '(?P<path>[^'\n]{1,400})' could not be acquired",
            r"\bTimeout: The file lock '(?P<path>[^'\n]{1,400})' could not be acquired",
            r"Timeout waiting for lock (?:file )?'?(?P<path>/[^'\s]{1,400})",
            r"is locked by another process.*'(?P<path>[^'\n]{1,400}\.lock)'",
        ),
        cause="{path} is held by another rank, or was left by a process that was killed",
        fix="if no process uses it (`fuser -v` the file), remove the lock file",
        asks=("locks",),
    ),
    Signature(
        id="lock.unsupported",
        meaning="the file system does not lock files between nodes",
        patterns=(
            r"\bOSError: \[Errno 37\] No locks available",
            r"Couldn't acquire lock on \S{1,400} from process \d",
            r"Expected to find locked file \S{1,400} from process \d{1,7} but it doesn't exist",
            r"\[Errno 524\] Unknown error 524",
        ),
        cause="the folder is on a network file system without a lock service, or whose locks (flock) hold "
        "within a node only",
        fix="put the cache or data base on a local disk (HF_HOME, TRITON_CACHE_DIR, ...), or mount with "
        "locks",
        check="shared",
    ),
    Signature(
        id="lock.waiting",
        meaning="a rank waits for another one to build an extension",
        patterns=(
            r"Waiting for (?:another process|file lock|lock).{0,200}(?P<path>/\S{1,400}/lock)\b",
            r"Another process is (?:already )?(?:building|compiling).{0,100}(?P<path>/\S{1,400})",
        ),
        cause="another rank builds it, or a build that was killed left the file {path}",
        fix="if no build is running, remove the file named `lock` in its folder below TORCH_EXTENSIONS_DIR",
        kind=Kind.HINT,
    ),
)
