"""GPUs: memory, driver, hardware, and kernels that went wrong."""

from __future__ import annotations

from orchestrator.diagnose.signature import Kind, Signature

SIGNATURES = (
    Signature(
        id="cuda.memory",
        meaning="out of GPU memory",
        patterns=(
            r"\bOutOfMemoryError: ",
            r"CUDA out of memory",
            r"CUDA error: out of memory",
            r"\bCUBLAS_STATUS_ALLOC_FAILED\b",
            r"Cuda failure (?:\d+ )?'out of memory'",
        ),
        cause="the batch is too large for this GPU, or another process holds memory on it",
        fix="a smaller batch, or gradient accumulation; see `nvidia-smi` for other processes",
        check="gpu.busy",
        is_survivable=True,
    ),
    Signature(
        id="cuda.fabric-manager",
        meaning="the GPUs' fabric is not up",
        patterns=(
            r"Error 802: system not yet initialized",
            r"CUDA error: system not yet initialized",
            r"Cuda failure (?:\d+ )?'system not yet initialized'",
        ),
        cause="nvidia-fabricmanager does not run, or its version is not the driver's",
        fix="install the fabric manager of the driver's version and start it",
        check="gpu.fabric",
    ),
    Signature(
        id="cuda.ecc",
        meaning="GPU memory is damaged",
        patterns=(r"uncorrectable ECC error",),
        cause="the GPU found an error in its memory that it could not correct",
        fix="take the node out, reset the GPU or reboot; if it comes again, replace the GPU",
        check="gpu.ecc",
    ),
    Signature(
        id="cuda.nvlink",
        meaning="an NVLink failed",
        patterns=(r"uncorrectable NVLink error", r"\bSXid \(PCI:[^()]{1,40}\): \d{1,6}, Fatal"),
        cause="the link between two GPUs had an error that could not be corrected",
        fix="take the node out, reset its GPUs or reboot; `nvidia-smi nvlink -e` tells which link",
        check="gpu.nvlink",
    ),
    Signature(
        id="cuda.xid",
        meaning="the driver reports Xid {xid}",
        patterns=(r"NVRM: Xid \(PCI:[^()]{1,40}\): (?P<xid>\d{1,4})",),
        cause="79: the GPU fell off the bus; 48, 64, 95, 119, 120: hardware or firmware; "
        "13, 31, 43, 94: mostly the program",
        fix="79: reboot; 48, 64, 95, 119, 120: reset the GPU; else look at the script",
        check="gpu.xid",
    ),
    Signature(
        id="cuda.lost",
        meaning="the GPU is lost",
        patterns=(
            r"GPU has fallen off the bus",
            r"Unable to determine the device handle for GPU",
            r"GPU is lost",
        ),
        cause="the GPU no longer answers on the PCI bus",
        fix="take the node out and reboot it; if it comes again, look at power and seating",
        check="gpu.xid",
    ),
    Signature(
        id="cuda.architecture",
        meaning="torch was not built for this GPU",
        patterns=(
            r"no kernel image is available for execution",
            r"is not compatible with the current PyTorch installation",
        ),
        cause="this build of torch has no code for the GPU's architecture",
        fix="install a build of torch for a CUDA version that knows the GPU",
        check="sw.versions",
    ),
    Signature(
        id="cuda.assert",
        meaning="a check in a GPU kernel failed",
        patterns=(r"device-side assert triggered", r"Assertion `[^`\n]{1,300}` failed\.$"),
        cause="mostly an index out of range: a label or token id beyond the number of classes",
        fix="run once on CPU, or with CUDA_LAUNCH_BLOCKING=1, to see the line",
    ),
    Signature(
        id="cuda.illegal-access",
        meaning="a GPU kernel touched memory that is not its own",
        patterns=(
            r"an illegal memory access was encountered",
            r"CUDA error: unspecified launch failure",
            r"CUDA error: misaligned address",
            r"CUDA error: an illegal instruction was encountered",
        ),
        cause="a fault in a custom kernel or library, tensors of the wrong device, or a sick GPU",
        fix="run with CUDA_LAUNCH_BLOCKING=1, or compute-sanitizer; if one node only: look for Xid",
        check="gpu.xid",
    ),
    Signature(
        id="cuda.busy",
        meaning="the GPU is taken",
        patterns=(
            r"all CUDA-capable devices are busy or unavailable",
            r"CUDA-capable device\(s\) is/are busy or unavailable",
            r"exclusive.*thread not in use",
        ),
        cause="another process has it in exclusive mode, or it is in a bad state",
        fix="end what `nvidia-smi` shows on it; nvidia-smi -c DEFAULT",
        check="gpu.busy",
    ),
    Signature(
        id="cuda.no-device",
        meaning="there is no such GPU",
        patterns=(
            r"CUDA error: invalid device ordinal",
            r"no CUDA-capable device is detected",
            r"No CUDA GPUs are available",
            r"RuntimeError: Found no NVIDIA driver on your system",
        ),
        cause="this node has fewer GPUs than ranks, CUDA_VISIBLE_DEVICES hides them, or has no driver",
        fix="set the node's `devices` to the GPUs that `nvidia-smi -L` shows",
        check="gpu",
    ),
    Signature(
        id="cuda.driver-old",
        meaning="the driver is too old for torch",
        patterns=(
            r"NVIDIA driver on your system is too old",
            r"CUDA driver version is insufficient for CUDA runtime version",
            r"PTX was compiled with an unsupported toolchain",
        ),
        cause="this build of torch needs a newer driver",
        fix="update the driver on this node, or install torch for an older CUDA",
        check="sw.versions",
    ),
    Signature(
        id="cuda.driver-mismatch",
        meaning="driver and its library differ in version",
        patterns=(
            r"Driver/library version mismatch",
            r"system has unsupported display driver / cuda driver combination",
            r"forward compatibility was attempted on non supported HW",
        ),
        cause="the driver was updated, and the old one is still loaded; or a container brings a libcuda "
        "that does not fit it",
        fix="reboot the node, or reload the nvidia kernel modules; in a container leave the compat folder "
        "of CUDA out of LD_LIBRARY_PATH",
        check="gpu",
    ),
    Signature(
        id="cuda.forked",
        meaning="CUDA was used before a process was forked",
        patterns=(
            r"Cannot re-initialize CUDA in forked subprocess",
            r"can't create new processes if CUDA is already initialized",
        ),
        cause="the script touches a GPU, then starts processes, data loader workers too, by fork",
        fix="no CUDA before the start of processes, nor in a data set; or the start method 'spawn'",
    ),
    Signature(
        id="cuda.not-compiled",
        meaning="this torch knows no CUDA",
        patterns=(
            r"Torch not compiled with CUDA enabled",
            r"module 'torch\._C' has no attribute '_cuda_",
        ),
        cause="the CPU build of torch is installed on this node",
        fix="install the CUDA build of the same version where there are GPUs; else do not ask for CUDA",
        check="sw.torch",
    ),
    Signature(
        id="cuda.library",
        meaning="a CUDA library failed to start",
        patterns=(
            r"\bCUBLAS_STATUS_NOT_INITIALIZED\b",
            r"\bCUDNN_STATUS_(?:NOT_INITIALIZED|INTERNAL_ERROR|EXECUTION_FAILED)\b",
            r"\bCUBLAS_STATUS_(?:INTERNAL_ERROR|EXECUTION_FAILED)\b",
        ),
        cause="mostly GPU memory that ran out, or an earlier kernel that failed",
        fix="a smaller batch; run with CUDA_LAUNCH_BLOCKING=1",
        kind=Kind.SYMPTOM,
    ),
)
